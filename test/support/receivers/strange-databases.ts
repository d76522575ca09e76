// Servers that implement just enough of the PostgreSQL or MySQL protocol to request data that no client should send.
import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'

export interface StrangeServer {
  port: number
  /** All that came, of all connections. */
  received(): Buffer
  /** How many bytes went out over all connections, apart from what waits in this process. */
  sent(): number
  /** Resolves when no connection is open. */
  left(): Promise<void>
  close(): Promise<void>
}

/** Sends the same bytes repeatedly, as fast as the client takes them, up to `most` bytes. */
export interface Flood {
  piece: Buffer
  most: number
}

/** In pieces: as so many packets on the wire. */
type Answer = Buffer | Buffer[] | Flood | ((words: Buffer) => Buffer)

/** Says `greeting`, and to the nth words of the client the nth answer; then it listens. */
export async function startStrangeServer(script: {
  greeting?: Buffer | Flood
  answers: Answer[]
}): Promise<StrangeServer> {
  const open = new Set<Socket>()
  const all: Socket[] = []
  const chunks: Buffer[] = []
  const server = createServer((socket) => {
    const answers = [...script.answers]
    open.add(socket)
    all.push(socket)
    socket.setNoDelay(true)
    socket.on('error', () => {})
    socket.on('close', () => open.delete(socket))
    socket.on('data', (words: Buffer) => {
      chunks.push(words)
      const answer = answers.shift()
      if (answer) void say(socket, typeof answer === 'function' ? answer(words) : answer)
    })
    if (script.greeting) void say(socket, script.greeting)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    received: () => Buffer.concat(chunks),
    sent: () => all.reduce((sum, socket) => sum + socket.bytesWritten - socket.writableLength, 0),
    async left() {
      // `once` would take an error before it for the end of the wait.
      await Promise.all([...open].map((socket) => new Promise((resolve) => socket.once('close', resolve))))
    },
    async close() {
      for (const socket of open) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}

async function say(socket: Socket, answer: Buffer | Buffer[] | Flood): Promise<void> {
  if ('most' in answer) return flood(socket, answer)
  if (!Array.isArray(answer)) return void socket.write(answer)
  for (const piece of answer) {
    socket.write(piece)
    // The system would put together what is written at once.
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

function flood(socket: Socket, { piece, most }: Flood): void {
  let left = most
  const more = () => {
    while (left > 0 && !socket.destroyed) {
      left -= piece.length
      if (!socket.write(piece)) return
    }
  }
  socket.on('drain', more)
  more()
}

/** A message of PostgreSQL's protocol: a letter, the length of the rest, the rest. */
export function postgresMessage(letter: string, ...parts: (number | string | Buffer)[]): Buffer {
  const body = Buffer.concat(parts.map((part) => (typeof part === 'number' ? int32(part) : Buffer.from(part))))
  return Buffer.concat([Buffer.from(letter), int32(body.length + 4), body])
}

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32BE(value)
  return bytes
}

/** A packet of MySQL's protocol: the length of the rest, its number in the exchange, the rest. */
export function mysqlPacket(number: number, ...parts: (string | Buffer)[]): Buffer {
  const body = Buffer.concat(parts.map((part) => Buffer.from(part)))
  return Buffer.concat([Buffer.from([body.length & 0xff, (body.length >> 8) & 0xff, body.length >> 16, number]), body])
}

/** The greeting of a server of version 8 that has no TLS. */
export function mysqlGreeting(): Buffer {
  const salt = 'abcdefghijklmnopqrst'
  // LONG_PASSWORD, CONNECT_WITH_DB, PROTOCOL_41, TRANSACTIONS, SECURE_CONNECTION; PLUGIN_AUTH.
  const [low, high] = [0x0001 | 0x0008 | 0x0200 | 0x2000 | 0x8000, 0x0008]
  return mysqlPacket(
    0,
    Buffer.from([10]),
    '8.0.40\0',
    Buffer.from([1, 0, 0, 0]),
    salt.slice(0, 8),
    Buffer.from([0, low & 0xff, low >> 8, 255, 2, 0, high, 0, 21, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    salt.slice(8),
    '\0mysql_native_password\0',
  )
}

/** Everything is well. */
export function mysqlOk(number: number): Buffer {
  return mysqlPacket(number, Buffer.from([0, 0, 0, 2, 0, 0, 0]))
}
