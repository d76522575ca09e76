// The embedded PostgreSQL: a cluster in a folder, created at the first start. It listens on loopback only.
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { chownSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import pg from 'pg'
import { serverEnvironment } from '../process/settings.ts'
import { kept } from './kept.ts'
import { freePort } from './ports.ts'
import { type PostgresPrograms, postgresPrograms } from './postgres-programs.ts'
import { commandOf, identify, type ProcessId } from './processes.ts'
import { databaseUser, leftBehindFolders, reachableFolder, type SystemUser } from './reach.ts'
import { launch, type RunningServer, untilReady } from './server.ts'

export interface PostgresOptions {
  /** The folder of the cluster (or of a pointer to it), of its password and of its log. */
  dir: string
  /** If the port is in use, the next free one is taken; 0, the default, means any free port. */
  port?: number
  /** False: PostgreSQL does not wait for the disk. Only for tests. */
  durable?: boolean
  /** Called with the folder of the cluster, if that is not in `dir`. */
  say?: (line: string) => void
  /** Called as soon as the process exists, before it answers. */
  onProcess?: (id: ProcessId) => void
  /** The package with the programs, if it is not the installed one. */
  packageFolder?: string
}

export interface RunningPostgres extends RunningServer {
  /** The superuser's connection to the database `postgres`. */
  url: string
  port: number
  /** True when the cluster was made by this start. */
  fresh: boolean
}

/** Starts the cluster in `dir`, making it first if needed, and returns once it answers queries. */
export async function startPostgres(options: PostgresOptions): Promise<RunningPostgres> {
  // Other users may pass through the folder, because PostgreSQL does not run as root; they cannot list it.
  mkdirSync(options.dir, { recursive: true, mode: 0o711 })
  const user = databaseUser()
  const programs = postgresPrograms(user, options.packageFolder)
  const cluster = join(reachableFolder(user, options.dir, 'postgres'), 'cluster')
  sayWhere(options, cluster)
  const password = kept(join(options.dir, 'postgres-password'), () => randomBytes(24).toString('base64url'))
  const fresh = !existsSync(join(cluster, 'PG_VERSION'))
  if (fresh) await makeCluster(programs, user, cluster, password)
  removeStalePidFile(cluster)

  const log = join(options.dir, 'postgres.log')
  for (let attempt = 1; ; attempt++) {
    const port = await freePort(options.port ?? 0)
    const url = `postgres://postgres:${password}@127.0.0.1:${port}/postgres`
    const server = await launch({
      program: programs.postgres,
      args: ['-D', cluster, '-p', String(port), ...settings(options.durable ?? true)],
      log_file: log,
      env: { ...serverEnvironment(), LC_ALL: 'C', LANG: 'C' },
      ...(user ? { user } : {}),
      stop_signals: ['SIGINT', 'SIGQUIT'],
    })
    options.onProcess?.(server.process)
    try {
      await untilReady(server, 'PostgreSQL', log, 300_000, () => answers(url))
      return { ...server, url, port, fresh }
    } catch (error) {
      // After a kill -9 the old backends may still be ending. Another program may take a free port before it is used.
      if (attempt === 10) throw error
      await wait(500)
    }
  }
}

function sayWhere({ dir, say = () => {} }: PostgresOptions, cluster: string): void {
  if (!cluster.startsWith(join(dir, 'postgres'))) {
    say(`the database lies in ${cluster}, since its user cannot enter ${dir}: docs/operate-backup.md`)
  }
  for (const folder of leftBehindFolders(dir, 'postgres')) {
    say(
      `the database of an earlier ${dir} still lies in ${folder}; unless that folder was only moved, remove it: rm -rf ${folder}`,
    )
  }
}

function settings(durable: boolean): string[] {
  const values = ['listen_addresses=127.0.0.1', 'unix_socket_directories=', 'max_connections=200']
  // Commits are still written to the operating system, and so survive a kill -9 of the server.
  if (!durable) values.push('fsync=off', 'full_page_writes=off')
  return values.flatMap((value) => ['-c', value])
}

/**
 * Creates a cluster that sorts text in the same way on every system. It is created in another folder and then renamed, so
 * that an interrupted start never leaves an incomplete cluster.
 */
async function makeCluster(
  programs: PostgresPrograms,
  user: SystemUser | undefined,
  cluster: string,
  password: string,
): Promise<void> {
  const part = `${cluster}.${process.pid}`
  rmSync(part, { recursive: true, force: true })
  const passwordFile = `${part}.password`
  writeFileSync(passwordFile, `${password}\n`, { mode: 0o600 })
  if (user) chownSync(passwordFile, user.uid, user.gid)
  try {
    await run(programs.initdb, user, [
      `--pgdata=${part}`,
      '--username=postgres',
      `--pwfile=${passwordFile}`,
      '--auth=scram-sha-256',
      '--encoding=UTF8',
      '--locale=C',
      '--locale-provider=builtin',
      '--builtin-locale=C.UTF-8',
    ])
    renameSync(part, cluster)
  } finally {
    rmSync(passwordFile, { force: true })
  }
}

function run(program: string, user: SystemUser | undefined, args: string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const env = { ...serverEnvironment(), LC_ALL: 'C', LANG: 'C' }
    const child = spawn(program, args, { ...user, cwd: '/', env, stdio: ['ignore', 'pipe', 'pipe'] })
    let output = ''
    child.stdout.on('data', (chunk) => {
      output += chunk
    })
    child.stderr.on('data', (chunk) => {
      output += chunk
    })
    child.once('error', reject)
    child.once('close', (code) => {
      if (code === 0) resolve()
      else reject(new Error(`${program} ended with code ${code}:\n${output.slice(-2000)}`))
    })
  })
}

/**
 * PostgreSQL believes that its server still runs if *any* process has the pid in its pid file, which is likely after a
 * container was restarted. The file is removed if that process is not a PostgreSQL of this cluster.
 */
function removeStalePidFile(cluster: string): void {
  const file = join(cluster, 'postmaster.pid')
  if (!existsSync(file)) return
  const pid = Number(readFileSync(file, 'utf8').split('\n')[0])
  if (!identify(pid) || !commandOf(pid).includes(cluster)) rmSync(file, { force: true })
}

async function answers(url: string): Promise<boolean> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 2000 })
  client.on('error', () => {})
  try {
    await client.connect()
    await client.query('select 1')
    return true
  } catch {
    return false
  } finally {
    await client.end().catch(() => {})
  }
}
