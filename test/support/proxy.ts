// A TCP proxy on loopback that can be cut: what a network does to the connection to PostgreSQL or Temporal.
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

export interface TcpProxy {
  port: number
  /** Resets every connection and refuses new ones, until `mend`. */
  cut(): void
  /** Drops everything without closing a connection, until `mend`, like a host that vanished. */
  silence(): void
  /** The same for all answers, from the first moment that something like this is sent to the server. */
  silenceAnswersTo(sent: RegExp): void
  mend(): void
  close(): Promise<void>
}

export async function startProxy(target: { host: string; port: number }): Promise<TcpProxy> {
  const sockets = new Set<Socket>()
  let isCut = false
  let isSilent = false
  let silenceAfter: RegExp | undefined
  const outbounds = new Set<Socket>()
  const server = createServer((inbound) => {
    if (isCut) return void inbound.resetAndDestroy()
    const outbound = connect(target)
    outbounds.add(outbound)
    outbound.on('close', () => outbounds.delete(outbound))
    inbound.on('data', (chunk: Buffer) => {
      if (!silenceAfter?.test(chunk.toString('latin1'))) return
      for (const one of outbounds) one.pause()
    })
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
      socket.pipe(other)
      if (isSilent) socket.pause()
    }
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const cut = () => {
    isCut = true
    for (const socket of sockets) socket.resetAndDestroy()
  }
  return {
    port: (server.address() as AddressInfo).port,
    cut,
    silence() {
      isSilent = true
      for (const socket of sockets) socket.pause()
    },
    silenceAnswersTo(sent) {
      silenceAfter = sent
    },
    mend() {
      silenceAfter = undefined
      isCut = false
      isSilent = false
      for (const socket of sockets) socket.resume()
    },
    async close() {
      cut()
      server.close()
      await once(server, 'close')
    },
  }
}
