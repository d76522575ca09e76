// A PostgreSQL to deliver to: the embedded programs, a cluster of its own.
import { chownSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import pg from 'pg'
import { type RunningPostgres, startPostgres } from '../../../temporal-config/stack/postgres.ts'
import { databaseUser, removeReachableFolder } from '../../../temporal-config/stack/reach.ts'
import { temporaryFolder } from '../folders.ts'
import type { Receiver } from './receiver.ts'

export interface PostgresReceiverOptions {
  user: string
  password: string
  /** Made, and owned by the user. */
  database: string
  /** PEM. Without it there is no TLS; `ca` signs the certificates of clients. */
  tls?: TlsFiles
}

interface TlsFiles {
  certificate: string
  key: string
  ca?: string
}

export interface PostgresReceiver extends Receiver {
  database: string
  /** The user's own connection to the database. */
  url: string
  /** The superuser's. */
  adminUrl: string
}

export async function startPostgresReceiver(options: PostgresReceiverOptions): Promise<PostgresReceiver> {
  const dir = temporaryFolder('postgres')
  // Nobody misses its data; it still outlives a restart.
  const start = (port: number) => startPostgres({ dir, port, durable: false })
  let server: RunningPostgres = await start(0)
  const { port } = server
  const remove = () => {
    removeReachableFolder(dir, 'postgres')
    rmSync(dir, { recursive: true, force: true })
  }
  // In the normal case `close` is called; this is for a starter that ends in another way.
  const killAtExit = () => {
    try {
      process.kill(server.process.pid, 'SIGKILL')
    } catch {
      // It has ended.
    }
    remove()
  }
  process.once('exit', killAtExit)
  const close = async () => {
    process.off('exit', killAtExit)
    await server.stop()
    remove()
  }
  try {
    await prepare(server.url, options)
  } catch (error) {
    await close()
    throw error
  }
  const adminUrl = new URL(server.url)
  adminUrl.pathname = `/${encodeURIComponent(options.database)}`
  const url = new URL(adminUrl)
  url.username = encodeURIComponent(options.user)
  url.password = encodeURIComponent(options.password)
  return {
    host: '127.0.0.1',
    port,
    database: options.database,
    url: url.href,
    adminUrl: adminUrl.href,
    pid: () => server.process.pid,
    async restart() {
      await server.stop()
      server = await start(port)
      if (server.port !== port) throw new Error(`port ${port} was taken while PostgreSQL restarted`)
    },
    close,
  }
}

async function prepare(url: string, { user, password, database, tls }: PostgresReceiverOptions): Promise<void> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    const [role, name] = [client.escapeIdentifier(user), client.escapeIdentifier(database)]
    await client.query(`create role ${role} login password ${client.escapeLiteral(password)}`)
    await client.query(`create database ${name} owner ${role}`)
    if (tls) await enableTls(client, tls)
  } finally {
    await client.end()
  }
}

/** The files lie in the cluster, where the server's own user can read them and nobody else. */
async function enableTls(client: pg.Client, tls: TlsFiles): Promise<void> {
  const { rows } = await client.query<{ data_directory: string }>('show data_directory')
  const user = databaseUser()
  for (const [setting, name, text] of [
    ['ssl_cert_file', 'receiver.crt', tls.certificate],
    ['ssl_key_file', 'receiver.key', tls.key],
    ['ssl_ca_file', 'receiver-ca.crt', tls.ca],
  ] as const) {
    if (text === undefined) continue
    const path = join(rows[0]!.data_directory, name)
    writeFileSync(path, text, { mode: 0o600 })
    if (user) chownSync(path, user.uid, user.gid)
    await client.query(`alter system set ${setting} = '${name}'`)
  }
  await client.query('alter system set ssl = on')
  await client.query('select pg_reload_conf()')
}
