// JDBC against PostgreSQL and MariaDB: the cases that every protocol must keep.
import mysql from 'mysql2/promise'
import pg from 'pg'
import type { Message } from '../../../activities/destinations/destination.ts'
import { jdbcConfig } from '../../../activities/destinations/jdbc/config.ts'
import { jdbc } from '../../../activities/destinations/jdbc/index.ts'
import { startMariadb } from '../../support/receivers/mariadb.ts'
import { startPostgresReceiver } from '../../support/receivers/postgres.ts'
import { CERTIFICATE } from '../../support/tls-front.ts'
import { type At, contract, type Place, SECRET, type Server, WRONG } from './contract.ts'

const ACCOUNT = { user: 'distributor', password: SECRET, database: 'reports' }
const COLUMNS = 'report_id varchar(100), big bigint, price decimal(20, 1), esc varchar(100), delivery_id varchar(100)'

/** Asks a database; the answer's columns are text. */
type Ask = (sql: string) => Promise<Record<string, unknown>[]>

let tables = 0

async function placeAt(scheme: string, plain: string, ask: Ask): Promise<Place> {
  tables += 1
  const table = `reports_${tables}`
  const ledger_table = `ledger_${tables}`
  await ask(`create table ${table} (${COLUMNS})`)
  const config = ({ host, port, timeout_seconds }: At, given: Record<string, unknown> = {}, query = `?${plain}`) => ({
    ...jdbcConfig.parse({
      url: `jdbc:${scheme}://${host}:${port}/reports${query}`,
      username: ACCOUNT.user,
      password: SECRET,
      table,
      ledger_table,
      columns: {
        report_id: 'report_id',
        big: 'big',
        price: 'price',
        esc: 'esc',
        delivery_id: { value: '{delivery_id}' },
      },
      ...given,
    }),
    timeout_seconds,
  })
  return {
    config: (at) => config(at),
    secured: (at, tls) => config(at, { tls }, ''),
    locked: (at) => config(at, { password: WRONG }),
    refused: (at) => config(at, { table: 'no_such_table' }),
    async arrived() {
      const rows = await ask(`select * from ${table}`)
      return rows.map(({ report_id, big, price, esc, delivery_id }) => ({
        body: Buffer.from([report_id, big, price, esc].join('|')),
        delivery_id: String(delivery_id),
      }))
    },
    expected: (_message: Message) => Buffer.from('r-1|9223372036854775807|1.0|é/'),
  }
}

async function startOnPostgres({ tls }: { tls: boolean }): Promise<Server> {
  const receiver = await startPostgresReceiver({ ...ACCOUNT, ...(tls && { tls: CERTIFICATE }) })
  const ask: Ask = async (sql) => {
    const client = new pg.Client({ connectionString: receiver.url })
    await client.connect()
    try {
      return (await client.query(sql)).rows
    } finally {
      await client.end()
    }
  }
  return {
    port: receiver.port,
    place: () => placeAt('postgresql', 'sslmode=disable', ask),
    restart: () => receiver.restart(),
    close: () => receiver.close(),
  }
}

async function startOnMariadb({ tls }: { tls: boolean }): Promise<Server> {
  const receiver = await startMariadb({ ...ACCOUNT, ...(tls && { tls: CERTIFICATE }) })
  const ask: Ask = async (sql) => {
    const options = {
      ...ACCOUNT,
      host: '127.0.0.1',
      port: receiver.port,
      supportBigNumbers: true,
      bigNumberStrings: true,
    }
    const connection = await mysql.createConnection(options)
    try {
      return (await connection.query(sql))[0] as Record<string, unknown>[]
    } finally {
      await connection.end()
    }
  }
  return {
    port: receiver.port,
    place: () => placeAt('mariadb', 'sslMode=disable', ask),
    restart: () => receiver.restart(),
    close: () => receiver.close(),
  }
}

await contract({
  destination: jdbc,
  on: 'PostgreSQL',
  start: startOnPostgres,
  repeat: 'one effect',
  programs: [],
  tls: 'inside',
})

await contract({
  destination: jdbc,
  on: 'MariaDB',
  start: startOnMariadb,
  repeat: 'one effect',
  programs: ['mariadb'],
  tls: 'inside',
})
