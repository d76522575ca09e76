// A proxy on loopback that drops one answer: the server has executed the request, but the client never learns it.
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

export interface LosingProxy {
  port: number
  /** Whether an answer has been lost. */
  lost(): boolean
  close(): Promise<void>
}

/** Resets the connection, once in its life, when the server speaks and `done` is true, before its words are passed on. */
export async function losingTheAnswer(
  target: { host: string; port: number },
  done: () => boolean,
): Promise<LosingProxy> {
  const sockets = new Set<Socket>()
  let lost = false
  const server = createServer((inbound) => {
    const outbound = connect(target)
    for (const [socket, other] of [
      [inbound, outbound],
      [outbound, inbound],
    ] as const) {
      sockets.add(socket)
      socket.on('error', () => {})
      socket.on('close', () => {
        sockets.delete(socket)
        other.destroy()
      })
    }
    inbound.pipe(outbound)
    outbound.on('data', (words) => {
      if (lost || !done()) return void inbound.write(words)
      lost = true
      inbound.resetAndDestroy()
      outbound.resetAndDestroy()
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    lost: () => lost,
    async close() {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}
