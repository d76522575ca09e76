// PgBouncer in transaction mode before a PostgreSQL: each transaction gets any of a few connections of the server, and what
// a client leaves on one the next one finds.
import { chownSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import pg from 'pg'
import { wholeEnvironment } from '../../../temporal-config/process/settings.ts'
import { freePort } from '../../../temporal-config/stack/ports.ts'
import { databaseUser } from '../../../temporal-config/stack/reach.ts'
import { temporaryFolder } from '../folders.ts'
import { program } from './needs.ts'
import { type Receiver, startReceiver } from './receiver.ts'

export interface Pgbouncer extends Receiver {
  /** The same database by way of the pooler. */
  through(url: string): string
  /** What each of the pooler's own connections to the server of `url` has for these settings. */
  settings(url: string, names: string[]): Promise<Record<string, string>[]>
}

const POOL_SIZE = 3

export async function startPgbouncer(options: {
  /** Of the server. */
  port: number
  users: { name: string; password: string }[]
}): Promise<Pgbouncer> {
  const folder = temporaryFolder('pgbouncer')
  const port = await freePort(0)
  // It refuses to run as root.
  const user = databaseUser()
  const file = (name: string, lines: string[]) => {
    const path = join(folder, name)
    writeFileSync(path, `${lines.join('\n')}\n`, { mode: 0o600 })
    if (user) chownSync(path, user.uid, user.gid)
    return path
  }
  if (user) chownSync(folder, user.uid, user.gid)
  const users = file(
    'users.txt',
    options.users.map(({ name, password }) => `"${name}" "${password}"`),
  )
  const config = file('pgbouncer.ini', [
    '[databases]',
    `* = host=127.0.0.1 port=${options.port}`,
    '[pgbouncer]',
    'listen_addr = 127.0.0.1',
    `listen_port = ${port}`,
    'unix_socket_dir =',
    'pool_mode = transaction',
    'auth_type = scram-sha-256',
    `auth_file = ${users}`,
    `default_pool_size = ${POOL_SIZE}`,
    'max_client_conn = 200',
  ])
  const { name, password } = options.users[0]!
  const receiver = await startReceiver({
    name: 'PgBouncer',
    folder,
    port,
    command: {
      program: await program('pgbouncer'),
      args: ['-q', config],
      env: wholeEnvironment(),
      stop_signals: ['SIGINT', 'SIGKILL'],
      ...(user && { user }),
    },
    answers: () => answers(port, name, password),
  })
  const through = (url: string) => {
    const there = new URL(url)
    there.hostname = '127.0.0.1'
    there.port = String(port)
    return there.href
  }
  return {
    ...receiver,
    through,
    async settings(url, names) {
      const clients = Array.from({ length: POOL_SIZE }, () => new pg.Client({ connectionString: through(url) }))
      const question = names.map((each) => `current_setting('${each}', true) as "${each}"`).join(', ')
      try {
        await Promise.all(clients.map((client) => client.connect()))
        // All of them at once, so that each has a connection of its own.
        await Promise.all(clients.map((client) => client.query('begin')))
        const answers = await Promise.all(
          clients.map((client) => client.query(`select pg_backend_pid() as pid, ${question}`)),
        )
        return answers.map(({ rows }) => rows[0])
      } finally {
        await Promise.all(clients.map((client) => client.end()))
      }
    },
  }
}

/** Its own console needs no server. */
async function answers(port: number, user: string, password: string): Promise<boolean> {
  const client = new pg.Client({ host: '127.0.0.1', port, user, password, database: 'no_such_database' })
  client.on('error', () => {})
  try {
    await client.connect()
    return true
  } catch (error) {
    return error instanceof pg.DatabaseError
  } finally {
    await client.end().catch(() => {})
  }
}
