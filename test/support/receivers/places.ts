// A place to deliver to at each of the five servers beside HTTP: how a destination gets there, and what has arrived, read
// back with the server's own client.
import { randomBytes } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import pg from 'pg'
import type { Protocol } from '../../../db/states.ts'
import { createAmqpReader } from './amqp-reader.ts'
import { startMailpit } from './mailpit.ts'
import { startPostgresReceiver } from './postgres.ts'
import { startRabbitmq } from './rabbitmq.ts'
import { startVersitygw } from './s3.ts'
import { hasAccounts, startSshd } from './sshd.ts'

export interface Place {
  protocol: Protocol
  port: number
  /** Without its secrets. Another port than the server's own leads there by a detour. */
  configuration(port?: number): Record<string, unknown>
  /** The secrets, as the fields of a credential. */
  credential: Record<string, string>
  held(): Promise<Held[]>
  /** Where a person finds it. */
  where: string
  restart(): Promise<void>
  close(): Promise<void>
}

/** One delivery, as the receiver has it. */
export interface Held {
  delivery_id: string
  /** Its name there. */
  what: string
  /** The payload, or the rows that were made of it. */
  content: string
}

export type PlaceProtocol = 'AMQP' | 'JDBC' | 'S3' | 'SFTP' | 'EMAIL'
export const PLACE_PROTOCOLS = ['AMQP', 'JDBC', 'S3', 'SFTP', 'EMAIL'] as const satisfies readonly PlaceProtocol[]

type Say = (line: string) => void

/**
 * Starts the server of a protocol and makes a place there. Payloads are objects with `report_id` and `period`, and with
 * `rows` of `service`, `requests` and `fees`. Throws when the server is not here and cannot be installed.
 */
export function startPlace(protocol: PlaceProtocol, say: Say): Promise<Place> {
  return starters[protocol](say)
}

const starters: Record<PlaceProtocol, (say: Say) => Promise<Place>> = {
  AMQP: startQueue,
  JDBC: startTable,
  S3: startBucket,
  SFTP: startFolder,
  EMAIL: startMailbox,
}

async function startQueue(say: Say): Promise<Place> {
  const credential = { username: 'distributor', password: aPassword() }
  const queue = 'reports'
  const server = await startRabbitmq({ user: credential.username, password: credential.password, say })
  const reader = createAmqpReader({ port: server.port, ...credential })
  await reader.declare(queue)
  return {
    protocol: 'AMQP',
    port: server.port,
    credential,
    where: `amqp://127.0.0.1:${server.port}, queue ${queue}`,
    configuration: (port = server.port) => ({ host: '127.0.0.1', port, security: 'none', queue }),
    held: async () =>
      (await reader.all(queue)).map(({ content, properties }) => ({
        delivery_id: String(properties.messageId),
        what: `message in queue ${queue}`,
        content: content.toString('utf8'),
      })),
    restart: () => server.restart(),
    async close() {
      await reader.close()
      await server.close()
    },
  }
}

async function startTable(): Promise<Place> {
  const credential = { username: 'reporter', password: aPassword() }
  const { username: user, password } = credential
  const server = await startPostgresReceiver({ user, password, database: 'reports' })
  const client = () => new pg.Client({ host: '127.0.0.1', port: server.port, user, password, database: 'reports' })
  const asking = async (sql: string) => {
    const own = client()
    await own.connect()
    try {
      return (await own.query<{ delivery_id: string; what: string; content: string }>(sql)).rows
    } finally {
      await own.end()
    }
  }
  await asking(`create table report_rows (
    delivery_id uuid not null, report_id text not null, service text not null, requests bigint, fees numeric
  )`)
  return {
    protocol: 'JDBC',
    port: server.port,
    credential,
    where: `postgresql://127.0.0.1:${server.port}/reports, table report_rows`,
    configuration: (port = server.port) => ({
      url: `jdbc:postgresql://127.0.0.1:${port}/reports?sslmode=disable`,
      table: 'report_rows',
      rows_path: 'rows',
      delivery_id_column: 'delivery_id',
      columns: {
        report_id: { value: '{payload.report_id}' },
        service: 'service',
        requests: 'requests',
        fees: 'fees',
      },
    }),
    held: () =>
      asking(`
        select delivery_id, count(*) || ' rows in table report_rows' as what,
               string_agg(service || ' ' || requests || ' ' || fees, ', ' order by service) as content
          from report_rows group by delivery_id, report_id`),
    restart: () => server.restart(),
    close: () => server.close(),
  }
}

async function startBucket(say: Say): Promise<Place> {
  const credential = { access_key_id: 'distributor', secret_access_key: aPassword() }
  const bucket = 'reports'
  const { access_key_id: access_key, secret_access_key: secret_key } = credential
  const server = await startVersitygw({ access_key, secret_key, say })
  await server.makeBucket(bucket)
  return {
    protocol: 'S3',
    port: server.port,
    credential,
    where: `${server.endpoint}, bucket ${bucket}`,
    configuration: (port = server.port) => ({
      endpoint: `http://127.0.0.1:${port}`,
      bucket,
      key: '{payload.period}/{payload.report_id}.json',
    }),
    held: async () =>
      (await server.objects(bucket)).map(({ key, body, metadata }) => ({
        delivery_id: String(metadata['delivery-id']),
        what: `object ${key}`,
        content: body.toString('utf8'),
      })),
    restart: () => server.restart(),
    close: () => server.close(),
  }
}

async function startFolder(say: Say): Promise<Place> {
  const password = hasAccounts() ? aPassword() : undefined
  const server = await startSshd({ say, ...(password !== undefined && { password }) })
  const folder = join(server.home, 'reports')
  return {
    protocol: 'SFTP',
    port: server.port,
    credential: {
      username: server.username,
      ...(password === undefined ? { private_key: server.private_key } : { password }),
    },
    where: `sftp://127.0.0.1:${server.port}${folder}`,
    configuration: (port = server.port) => ({
      host: '127.0.0.1',
      port,
      host_key: server.host_key(),
      path: `${folder}/{payload.report_id}.{delivery_id}.json`,
    }),
    // A file that is still being written has another name, which begins with a dot.
    held: async () =>
      filesIn(folder).map((name) => ({
        delivery_id: name.split('.').at(-2) ?? '',
        what: `file ${name}`,
        content: readFileSync(join(folder, name), 'utf8'),
      })),
    restart: () => server.restart(),
    close: () => server.close(),
  }
}

async function startMailbox(say: Say): Promise<Place> {
  const credential = { username: 'distributor', password: aPassword() }
  const recipient = 'archive@authority.example'
  const server = await startMailpit({ auth: credential, say })
  return {
    protocol: 'EMAIL',
    port: server.port,
    credential,
    where: server.url,
    configuration: (port = server.port) => ({
      host: '127.0.0.1',
      port,
      security: 'none',
      from: 'Distributor <distributor@authority.example>',
      to: [recipient],
      subject: 'Report {payload.report_id} for {payload.period}',
      text: 'The report is attached.\n',
      attachment: { format: 'json', filename: '{payload.report_id}.json' },
    }),
    held: async () =>
      (await server.messages(recipient)).map(({ message_id, subject, attachments }) => ({
        delivery_id: message_id.slice(1, message_id.indexOf('@')),
        what: `mail "${subject}"`,
        content: attachments[0]?.content.toString('utf8') ?? '',
      })),
    restart: () => server.restart(),
    close: () => server.close(),
  }
}

function filesIn(folder: string): string[] {
  try {
    return readdirSync(folder).filter((name) => !name.startsWith('.'))
  } catch {
    // Made by the first delivery.
    return []
  }
}

function aPassword(): string {
  return randomBytes(18).toString('base64url')
}
