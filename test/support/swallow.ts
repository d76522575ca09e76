// A proxy on loopback that drops the answer to a chosen request: the server has executed it, but the client never learns
// it.
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

export interface Swallower {
  port: number
  /** Answers that were lost so far. */
  swallowed(): number
  close(): Promise<void>
}

/** Once something that ends like this went to the server, the first bytes that come back end the connection. */
export async function startSwallower(target: { host: string; port: number }, ending: RegExp): Promise<Swallower> {
  const open = new Set<Socket>()
  let swallowed = 0
  const server = createServer((inbound) => {
    const outbound = connect(target)
    let armed = false
    for (const socket of [inbound, outbound]) {
      open.add(socket)
      socket.on('error', () => {})
      socket.on('close', () => {
        open.delete(socket)
        inbound.destroy()
        outbound.destroy()
      })
    }
    inbound.on('data', (chunk: Buffer) => {
      armed ||= ending.test(chunk.toString('latin1'))
      outbound.write(chunk)
    })
    outbound.on('data', (chunk: Buffer) => {
      if (!armed) return void inbound.write(chunk)
      swallowed += 1
      inbound.resetAndDestroy()
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    swallowed: () => swallowed,
    async close() {
      for (const socket of open) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}
