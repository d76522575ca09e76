import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import { afterEach, expect, it } from 'vitest'
import { withinDeadline } from '../../../activities/destinations/network/deadline.ts'
import { connectGuarded, type GuardedConnection } from '../../../activities/destinations/network/guarded.ts'
import { failureOf, never, surroundings } from './contract.ts'

const pem = (name: string) => readFileSync(new URL(`../../support/receivers/certificates/${name}`, import.meta.url))
const { egress } = surroundings

const servers: Server[] = []
afterEach(() => {
  for (const server of servers.splice(0)) server.close()
})

async function listening(onConnection: (socket: Socket) => void): Promise<number> {
  const server = createServer((socket) => {
    socket.on('error', () => {})
    onConnection(socket)
  })
  servers.push(server)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}

function closing(socket: Socket): Promise<void> {
  return new Promise((resolve) => socket.once('close', () => resolve()))
}

function opened<T>(port: number, begin: (connection: GuardedConnection) => Promise<T>, timeoutMs = 10_000): Promise<T> {
  return withinDeadline({ timeoutMs, signal: never }, (attempt) =>
    connectGuarded({ host: '127.0.0.1', port }, attempt, egress, begin),
  )
}

it('everybody who waits gets the first reason why the connection ended', async () => {
  const port = await listening((socket) => socket.on('data', () => socket.resetAndDestroy()))
  const waiting = await opened(port, async ({ socket, orLost, end, reason }) => {
    socket.write('hello')
    const all = await Promise.allSettled([orLost(new Promise(() => {})), orLost(new Promise(() => {}))])
    expect(end(new Error('later'))).toBe(reason())
    return [...all, ...(await Promise.allSettled([orLost(Promise.resolve())]))]
  })
  const reasons = waiting.map((each) => (each.status === 'rejected' ? each.reason : undefined))
  expect(reasons[0]).toMatchObject({ code: 'DESTINATION_UNAVAILABLE', message: expect.stringContaining('ECONNRESET') })
  expect(new Set(reasons).size).toBe(1)
})

it('a server that hangs up without a word is a reason too', async () => {
  const port = await listening((socket) => socket.end())
  const error = await failureOf(opened(port, ({ orLost }) => orLost(new Promise(() => {}))))
  expect(error).toMatchObject({ code: 'DESTINATION_UNAVAILABLE', message: 'the server closed the connection' })
})

it('when the opening fails, nothing stays open, and what the server did not read yet never reaches it', async () => {
  const size = 16 * 1024 * 1024
  let theirs: Socket | undefined
  const port = await listening((socket) => {
    theirs = socket.pause()
  })
  const failure = new Error('refused')
  const attempt = opened(port, async ({ socket }) => {
    socket.write(Buffer.alloc(size))
    throw failure
  })
  await expect(attempt).rejects.toBe(failure)
  const closed = closing(theirs!)
  theirs!.resume()
  await closed
  expect(theirs!.bytesRead).toBeLessThan(size)
})

it('an opening that takes too long ends with the deadline, which closes the socket', async () => {
  let closed: Promise<void> | undefined
  const port = await listening((socket) => {
    closed = closing(socket.resume())
  })
  const error = await failureOf(opened(port, () => new Promise(() => {}), 300))
  expect(error).toMatchObject({
    code: 'TIMEOUT',
    message: 'the destination did not accept the connection within 1 s',
  })
  await closed
})

it('TLS on a plain connection verifies the certificate, and all that follows is encrypted', async () => {
  const port = await listening((socket) => {
    const secured = new TLSSocket(socket, { isServer: true, key: pem('server.key'), cert: pem('server.pem') })
    secured.on('error', () => {})
    secured.on('data', (bytes) => secured.write(bytes))
  })
  const echo = await opened(port, async (connection) => {
    const secured = await connection.secure({ ca: pem('ca.pem') })
    expect(connection.socket).toBe(secured)
    secured.write('hello')
    const [bytes] = await connection.orLost(once(secured, 'data'))
    connection.destroy()
    return String(bytes)
  })
  expect(echo).toBe('hello')
  const stranger = await failureOf(opened(port, ({ secure }) => secure({})))
  expect(stranger).toMatchObject({ code: 'DESTINATION_UNAVAILABLE', retryable: true })
  const other = await failureOf(
    opened(port, ({ secure }) => secure({ ca: pem('ca.pem'), servername: 'other.example' })),
  )
  expect(other.message).toBe('no secure connection could be made (ERR_TLS_CERT_ALTNAME_INVALID)')
})

it('an answer that arrives together with the end of the connection counts', async () => {
  const port = await listening(() => {})
  const answer = opened(port, ({ orLost, end }) => {
    let answerIt: (text: string) => void = () => {}
    const waiting = orLost(new Promise<string>((resolve) => (answerIt = resolve)))
    answerIt('answer')
    end(new Error('the end'))
    return waiting
  })
  expect(await answer).toBe('answer')
})
