// A MariaDB to deliver to: Debian's programs, a new data folder, loopback alone.
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { accessSync, constants, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import mysql from 'mysql2/promise'
import { serverEnvironment } from '../../../temporal-config/process/settings.ts'
import { freePort } from '../../../temporal-config/stack/ports.ts'
import { temporaryFolder } from '../folders.ts'
import { obtainProgram } from './programs.ts'
import { type Receiver, startReceiver } from './receiver.ts'

export interface MariadbOptions {
  user: string
  password: string
  /** Made, and given to the user. */
  database: string
  /** PEM. Without it there is no TLS; `ca` signs the certificates of clients. */
  tls?: { certificate: string; key: string; ca?: string }
  say?: (line: string) => void
}

export interface MariadbReceiver extends Receiver {
  database: string
  /** May do everything, over TCP. */
  admin: { user: string; password: string }
}

export async function startMariadb(options: MariadbOptions): Promise<MariadbReceiver> {
  const program = await obtainProgram('mariadb', options.say ?? (() => {}))
  const folder = temporaryFolder('mariadb')
  const data = join(folder, 'data')
  const admin = { user: 'distributor_admin', password: randomBytes(18).toString('base64url') }
  // The server lays down root's rights when it starts as root.
  const user = process.getuid?.() === 0 ? ['--user=root'] : []
  // A starting server removes the temporary tables that it finds, and with them those of another that runs.
  const env = { ...serverEnvironment(), TMPDIR: join(folder, 'tmp') }
  mkdirSync(env.TMPDIR)
  try {
    await installDatabase([`--datadir=${data}`, ...user], env)
  } catch (error) {
    rmSync(folder, { recursive: true, force: true })
    throw error
  }
  const port = await freePort(0)
  const file = (name: string, text: string) => {
    writeFileSync(join(folder, name), text, { mode: 0o600 })
    return join(folder, name)
  }
  const args = [
    '--no-defaults',
    `--datadir=${data}`,
    ...user,
    `--port=${port}`,
    '--bind-address=127.0.0.1',
    `--socket=${join(folder, 'server.sock')}`,
    `--pid-file=${join(folder, 'server.pid')}`,
    `--init-file=${file('init.sql', accounts(options, admin))}`,
    '--skip-name-resolve',
    '--skip-log-bin',
    '--performance-schema=off',
    '--innodb-buffer-pool-size=16M',
    '--innodb-log-file-size=8M',
    '--innodb-flush-log-at-trx-commit=2',
    '--key-buffer-size=1M',
    '--aria-pagecache-buffer-size=1M',
    ...(options.tls
      ? [`--ssl-cert=${file('cert.pem', options.tls.certificate)}`, `--ssl-key=${file('key.pem', options.tls.key)}`]
      : []),
    ...(options.tls?.ca === undefined ? [] : [`--ssl-ca=${file('ca.pem', options.tls.ca)}`]),
  ]
  const receiver = await startReceiver({
    name: 'MariaDB',
    command: { program, args, env, stop_signals: ['SIGTERM'] },
    folder,
    port,
    answers: () => answers(port, admin),
  })
  return { ...receiver, database: options.database, admin }
}

/** Read at every start; each line is one statement. */
function accounts({ user, password, database }: MariadbOptions, admin: { user: string; password: string }): string {
  return [
    `create user if not exists ${literal(admin.user)}@'%' identified by ${literal(admin.password)};`,
    `grant all on *.* to ${literal(admin.user)}@'%' with grant option;`,
    `create database if not exists ${identifier(database)} character set utf8mb4;`,
    `create user if not exists ${literal(user)}@'%' identified by ${literal(password)};`,
    `grant all on ${identifier(database)}.* to ${literal(user)}@'%';`,
    '',
  ].join('\n')
}

/** Makes the system tables. The script finds the server and its files by itself. */
function installDatabase(args: string[], env: NodeJS.ProcessEnv): Promise<void> {
  const script = installScript()
  return new Promise((resolve, reject) => {
    const child = spawn(
      script,
      ['--no-defaults', '--auth-root-authentication-method=normal', '--skip-test-db', '--skip-name-resolve', ...args],
      { cwd: '/', env, stdio: ['ignore', 'pipe', 'pipe'] },
    )
    let output = ''
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk) => {
        output = (output + chunk).slice(-4000)
      })
    }
    child.once('error', reject)
    child.once('close', (code) => {
      if (code === 0) resolve()
      else reject(new Error(`${script} ended with code ${code}:\n${output.slice(-1500)}`))
    })
  })
}

function installScript(): string {
  const folders = [...(serverEnvironment().PATH ?? '').split(delimiter).filter(Boolean), '/usr/bin', '/usr/local/bin']
  const found = folders
    .flatMap((folder) => ['mariadb-install-db', 'mysql_install_db'].map((name) => join(folder, name)))
    .find((path) => {
      try {
        accessSync(path, constants.X_OK)
        return true
      } catch {
        return false
      }
    })
  if (!found) throw new Error('no mariadb-install-db beside mariadbd')
  return found
}

async function answers(port: number, { user, password }: { user: string; password: string }): Promise<boolean> {
  try {
    const connection = await mysql.createConnection({ host: '127.0.0.1', port, user, password, connectTimeout: 2000 })
    await connection.end()
    return true
  } catch {
    return false
  }
}

function literal(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "''")}'`
}

function identifier(name: string): string {
  return `\`${name.replaceAll('`', '``')}\``
}
