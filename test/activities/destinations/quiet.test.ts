// A destination's server may be hostile. Whatever it sends, the client libraries print nothing, emit no warning and
// throw no uncaught error: only the attempt reports the failure.
import { once } from 'node:events'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { amqpConfig } from '../../../activities/destinations/amqp/config.ts'
import { amqp } from '../../../activities/destinations/amqp/index.ts'
import type { EgressContext, Message } from '../../../activities/destinations/destination.ts'
import { emailConfig } from '../../../activities/destinations/email/config.ts'
import { email } from '../../../activities/destinations/email/index.ts'
import { restConfig } from '../../../activities/destinations/rest/config.ts'
import { rest } from '../../../activities/destinations/rest/index.ts'
import { s3Config } from '../../../activities/destinations/s3/config.ts'
import { s3 } from '../../../activities/destinations/s3/index.ts'
import { sftpConfig } from '../../../activities/destinations/sftp/config.ts'
import { sftp } from '../../../activities/destinations/sftp/index.ts'
import { mysqlGreeting, mysqlOk, mysqlPacket, postgresMessage } from '../../support/receivers/strange-databases.ts'
import { aMessage, failureOf, never, SECRET, surroundings } from './contract.ts'
import { aConfig, aPayload, send } from './writing-rows.ts'

/** What was printed, warned of, or thrown where nobody catches it. */
const heard: unknown[] = []
const hear = (what: unknown) => {
  // Once in a process, whatever a server says.
  if (!/NodeVersionSupportWarning/.test(String(what))) heard.push(what)
}

let server: Server | undefined
const open = new Set<Socket>()

beforeEach(() => {
  heard.length = 0
  for (const method of ['log', 'info', 'warn', 'error', 'debug', 'trace'] as const) {
    vi.spyOn(console, method).mockImplementation((...words) => hear(words))
  }
  process.on('warning', hear)
  process.on('uncaughtException', hear)
  process.on('unhandledRejection', hear)
})

afterEach(async () => {
  // What a library does a moment later is heard too.
  await new Promise((resolve) => setTimeout(resolve, 50))
  process.off('warning', hear)
  process.off('uncaughtException', hear)
  process.off('unhandledRejection', hear)
  vi.restoreAllMocks()
  for (const socket of open) socket.destroy()
  server?.close()
  expect(heard).toEqual([])
})

/** Says the nth of `words` to the nth that it hears, the first at once where `first` is set, and then goes. */
async function speaking(words: Buffer[], first: boolean): Promise<number> {
  server?.close()
  server = createServer((socket) => {
    const left = [...words]
    open.add(socket)
    socket.on('error', () => {})
    socket.on('close', () => open.delete(socket))
    const say = () => {
      const next = left.shift()
      if (next) socket.write(next)
      if (left.length === 0) setTimeout(() => socket.destroy(), 15)
    }
    socket.on('data', say)
    if (first) say()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}

/** The same bytes in every run. */
function noise(seed: number, length: number): Buffer {
  const bytes = Buffer.alloc(length)
  let state = seed * 2654435761 + 1
  for (let at = 0; at < length; at++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    bytes[at] = state >>> 24
  }
  return bytes
}

describe('MySQL', () => {
  async function hears(...words: Buffer[]): Promise<void> {
    const port = await speaking(words, true)
    const url = `jdbc:mysql://127.0.0.1:${port}/reports?sslMode=DISABLED`
    await failureOf(send(aConfig({ url, table: 't', timeout_seconds: 3 }), aPayload({ id: 1 })))
  }

  it('packets that are out of order', async () => {
    const outOfOrder = Buffer.concat(Array.from({ length: 5_000 }, (_, at) => mysqlPacket((at * 7) % 256, 'x')))
    await hears(outOfOrder)
    await hears(mysqlGreeting(), outOfOrder)
    await hears(mysqlGreeting(), mysqlOk(2), outOfOrder)
    await hears(mysqlGreeting(), Buffer.concat([mysqlOk(2), outOfOrder]))
    await hears(mysqlGreeting(), Buffer.concat(Array.from({ length: 1_000 }, () => mysqlOk(9))))
  })

  it('lengths that are none', async () => {
    const none = Buffer.alloc(40, 0xff)
    await hears(mysqlGreeting(), mysqlPacket(2, Buffer.from([0]), none))
    await hears(mysqlGreeting(), mysqlOk(2), Buffer.concat([mysqlPacket(1, Buffer.from([1])), mysqlPacket(2, none)]))
    await hears(mysqlGreeting(), mysqlOk(2), mysqlPacket(1, Buffer.from([0]), none))
    await hears(mysqlGreeting(), mysqlOk(2), mysqlPacket(1, Buffer.from([0xfd])))
  })

  it('ways to log in that do not exist, again and again', async () => {
    for (const plugin of ['no_such_plugin', 'dialog', 'mysql_old_password', '__proto__', 'client_ed25519', '']) {
      const asks = (number: number) => mysqlPacket(number, Buffer.from([0xfe]), `${plugin}\0`, noise(number, 20))
      await hears(mysqlGreeting(), asks(2), asks(4), asks(6))
    }
    await hears(mysqlGreeting(), mysqlPacket(2, Buffer.from([0xfe])), mysqlPacket(4, Buffer.from([0xfe])))
  })

  it('noise at every step', async () => {
    for (let seed = 0; seed < 30; seed++) {
      const packet = (number: number) => mysqlPacket(number, noise(seed, (seed * 13) % 90))
      await hears(packet(0))
      await hears(mysqlGreeting(), packet(2))
      await hears(mysqlGreeting(), mysqlOk(2), Buffer.concat([packet(1), packet(2), packet(3)]))
      await hears(mysqlGreeting(), noise(seed, 200))
    }
  })
})

describe('PostgreSQL', () => {
  async function hears(...words: Buffer[]): Promise<void> {
    const port = await speaking(words, false)
    const url = `jdbc:postgresql://127.0.0.1:${port}/reports?sslmode=disable`
    await failureOf(send(aConfig({ url, table: 't', timeout_seconds: 3 }), aPayload({ id: 1 })))
  }

  it('notices, warnings, parameters and messages of every letter', async () => {
    const loggedIn = Buffer.concat([postgresMessage('R', 0), postgresMessage('Z', 'I')])
    const notice = postgresMessage('N', 'SWARNING\0C01000\0Mlook at me\0\0')
    await hears(Buffer.concat([notice, loggedIn, notice]), notice, notice)
    await hears(postgresMessage('E', 'SFATAL\0\0'))
    for (let code = 0; code < 256; code += 3) {
      const letter = String.fromCharCode(code)
      await hears(loggedIn, Buffer.concat([postgresMessage(letter, noise(code, code % 40)), postgresMessage('Z', 'I')]))
    }
    for (let code = 1; code < 20; code++) await hears(postgresMessage('R', code, noise(code, 8)))
  })

  it('noise at every step', async () => {
    for (let seed = 0; seed < 30; seed++) {
      await hears(noise(seed, 60))
      await hears(Buffer.concat([postgresMessage('R', 0), postgresMessage('Z', 'I')]), noise(seed, 60))
    }
  })

  it('descriptions of a table that no server gives', async () => {
    const loggedIn = Buffer.concat([postgresMessage('R', 0), postgresMessage('K', 1, 2), postgresMessage('Z', 'I')])
    const one = Buffer.concat([postgresMessage('C', 'SELECT 1\0'), postgresMessage('Z', 'I')])
    for (const answer of [
      '',
      'null',
      '[]',
      '{}',
      '{"columns":[{}],"types":[]}',
      '{"columns":[{"name":1}],"types":[{}]}',
    ]) {
      const column = Buffer.concat([Buffer.from('described\0'), Buffer.alloc(18)])
      const length = Buffer.alloc(4)
      length.writeInt32BE(Buffer.byteLength(answer))
      const rows = Buffer.concat([
        postgresMessage('C', 'BEGIN\0'),
        postgresMessage('T', Buffer.from([0, 1]), column),
        postgresMessage('D', Buffer.from([0, 1]), length, answer),
        postgresMessage('C', 'SELECT 1\0'),
        postgresMessage('Z', 'I'),
      ])
      await hears(loggedIn, one, rows)
    }
  })
})

describe('other protocols', () => {
  type Deliver = (config: never, message: Message, signal: AbortSignal, around: EgressContext) => Promise<unknown>
  const common = { timeout_seconds: 3 }
  const protocols: [name: string, deliver: Deliver, config: (port: number) => unknown, greeting: string][] = [
    [
      'AMQP',
      amqp.deliver as Deliver,
      (port) =>
        amqpConfig.parse({
          host: '127.0.0.1',
          port,
          security: 'none',
          username: 'u',
          password: SECRET,
          queue: 'q',
          ...common,
        }),
      'AMQP\0\0\t\x01',
    ],
    [
      'SFTP',
      sftp.deliver as Deliver,
      (port) =>
        sftpConfig.parse({
          host: '127.0.0.1',
          port,
          username: 'u',
          password: SECRET,
          host_key: 'any',
          path: 'x',
          ...common,
        }),
      'SSH-2.0-strange\r\n',
    ],
    [
      'EMAIL',
      email.deliver as Deliver,
      (port) =>
        emailConfig.parse({
          host: '127.0.0.1',
          port,
          security: 'none',
          from: 'a@example.test',
          to: ['b@example.test'],
          subject: 'x',
          ...common,
        }),
      '220 strange\r\n',
    ],
    [
      'REST',
      rest.deliver as Deliver,
      (port) => restConfig.parse({ endpoint: `http://127.0.0.1:${port}/`, ...common }),
      'HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n',
    ],
    [
      'S3',
      s3.deliver as Deliver,
      (port) =>
        s3Config.parse({
          endpoint: `http://127.0.0.1:${port}`,
          bucket: 'documents',
          key: 'k',
          access_key_id: 'me',
          secret_access_key: SECRET,
          ...common,
        }),
      'HTTP/1.1 400 Bad\r\nx-amz-request-id: 1\r\nContent-Length: 30\r\n\r\n<Error><Code>\0</Code><a></b>  ',
    ],
  ]

  it.each(protocols)('%s: noise at every step', async (name, deliver, config, greeting) => {
    for (let seed = 0; seed < 12; seed++) {
      for (const words of [[noise(seed, 300)], [Buffer.from(greeting), noise(seed, 300), noise(seed + 1, 300)]]) {
        const port = await speaking(words, name !== 'REST' && name !== 'S3')
        await deliver(config(port) as never, aMessage(), never, surroundings).catch(() => {})
      }
    }
  })
})
