// A server on loopback that speaks no protocol.
import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'

export interface StrangeServer {
  port: number
  /** Connections so far. */
  total(): number
  /** What it received, on all connections. */
  heard(): Buffer
  /** Resolves when no connection is open. */
  idle(): Promise<void>
  close(): Promise<void>
}

/** @param speak called with each connection */
export async function startStrangeServer(speak: (socket: Socket) => void): Promise<StrangeServer> {
  const sockets = new Set<Socket>()
  const heard: Buffer[] = []
  let total = 0
  const server = createServer((socket) => {
    total += 1
    sockets.add(socket)
    socket.on('error', () => {}).on('close', () => sockets.delete(socket))
    socket.on('data', (bytes: Buffer) => heard.push(bytes))
    speak(socket)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    total: () => total,
    heard: () => Buffer.concat(heard),
    async idle() {
      await Promise.all(
        [...sockets].map((socket) => new Promise<void>((resolve) => socket.once('close', () => resolve()))),
      )
    },
    async close() {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}
