// The oldest PostgreSQL that is supported, from the programs of the system: a throwaway cluster in a temporary folder.
import { execFileSync } from 'node:child_process'
import { chownSync, existsSync, mkdirSync, rmSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import pg from 'pg'
import { freePort } from '../../temporal-config/stack/ports.ts'
import { databaseUser } from '../../temporal-config/stack/reach.ts'
import { launch, untilReady } from '../../temporal-config/stack/server.ts'
import { temporaryFolder } from './folders.ts'
import type { TestServer } from './postgres.ts'

/** The folder with `initdb` and `postgres` of version 15, or undefined where there is none. */
export function postgres15Programs(): string | undefined {
  const folders = ['/usr/lib/postgresql/15/bin', ...(process.env.PATH ?? '').split(delimiter)]
  return folders.find((folder) => {
    if (!existsSync(join(folder, 'initdb')) || !existsSync(join(folder, 'postgres'))) return false
    return / 15\./.test(execFileSync(join(folder, 'postgres'), ['--version'], { encoding: 'utf8' }))
  })
}

/** Starts one; `stop` removes all of it. */
export async function startPostgres15(): Promise<TestServer> {
  const programs = postgres15Programs()
  if (!programs) throw new Error('no PostgreSQL 15 here: on Debian 12, apt-get install postgresql-15')
  const user = databaseUser()
  const dir = temporaryFolder('test-postgres-15')
  const cluster = join(dir, 'cluster')
  mkdirSync(cluster, { mode: 0o700 })
  if (user) for (const path of [dir, cluster]) chownSync(path, user.uid, user.gid)
  const env = { ...process.env, LC_ALL: 'C', LANG: 'C' }
  execFileSync(
    join(programs, 'initdb'),
    ['--pgdata', cluster, '--username=postgres', '--auth=trust', '--encoding=UTF8', '--locale=C', '--no-sync'],
    { ...user, cwd: '/', env, stdio: 'pipe' },
  )
  const port = await freePort(0)
  const url = `postgres://postgres@127.0.0.1:${port}/postgres`
  const log = join(dir, 'postgres.log')
  const settings = ['listen_addresses=127.0.0.1', 'unix_socket_directories=', 'fsync=off', 'max_connections=100']
  const server = await launch({
    program: join(programs, 'postgres'),
    args: ['-D', cluster, '-p', String(port), ...settings.flatMap((setting) => ['-c', setting])],
    log_file: log,
    env,
    ...(user ? { user } : {}),
    stop_signals: ['SIGINT', 'SIGQUIT'],
  })
  const killAtExit = () => {
    try {
      process.kill(server.process.pid, 'SIGKILL')
    } catch {
      // It has ended.
    }
  }
  process.once('exit', killAtExit)
  await untilReady(server, 'PostgreSQL 15', log, 60_000, () => answers(url))
  return {
    url,
    pid: server.process.pid,
    async stop() {
      process.off('exit', killAtExit)
      await server.stop()
      rmSync(dir, { recursive: true, force: true })
    },
  }
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
