// A real broker whose answers are tampered with on the way: what a broken or hostile one may send.
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

/** Class and method as the wire has them, within a frame of type 1. */
export const OPEN_OK = Buffer.from('000a0029', 'hex')
export const BASIC_ACK = Buffer.from('003c0050', 'hex')
export const SELECT_OK = Buffer.from('0055000b', 'hex')
export const CLOSE_OK = Buffer.from('000a0033', 'hex')

export interface StrangeAmqp {
  port: number
  close(): Promise<void>
}

/**
 * A proxy. When the answer that holds `method` comes by, `instead` says what is passed on; it may also write more to
 * `client` from then on, where nothing else is passed any more.
 */
export async function startStrangeAmqp(
  target: number,
  method: Buffer,
  instead: (answer: Buffer, client: Socket) => Buffer,
): Promise<StrangeAmqp> {
  const sockets = new Set<Socket>()
  const server = createServer((client) => {
    const broker = connect(target, '127.0.0.1')
    let strange = false
    for (const [socket, other] of [
      [client, broker],
      [broker, client],
    ] as const) {
      sockets.add(socket)
      socket.on('error', () => {})
      socket.on('close', () => other.destroy())
    }
    client.on('data', (bytes) => broker.write(bytes))
    broker.on('data', (bytes) => {
      if (strange) return
      strange = bytes.includes(method)
      client.write(strange ? instead(bytes, client) : bytes)
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    async close() {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}

/** A method frame on a channel. */
export function methodFrame(channel: number, classId: number, methodId: number, rest: Buffer): Buffer {
  const head = Buffer.alloc(11)
  head.writeUInt8(1, 0)
  head.writeUInt16BE(channel, 1)
  head.writeUInt32BE(4 + rest.length, 3)
  head.writeUInt16BE(classId, 7)
  head.writeUInt16BE(methodId, 9)
  return Buffer.concat([head, rest, Buffer.of(0xce)])
}

/** connection.close (10, 50) or channel.close (20, 40). */
export function closeFrame(channel: number, code: number, text: string): Buffer {
  const [classId, methodId] = channel === 0 ? [10, 50] : [20, 40]
  const words = Buffer.from(text)
  const rest = Buffer.alloc(2 + 1 + words.length + 4)
  rest.writeUInt16BE(code, 0)
  rest.writeUInt8(words.length, 2)
  words.copy(rest, 3)
  return methodFrame(channel, classId!, methodId!, rest)
}

export const HEARTBEAT = Buffer.from('08000000000000ce', 'hex')
