// Simulates an unreachable database at its address: a closed port, a proxy that disconnects, a host that never answers, or
// a PostgreSQL that rejects every login with a given code.
import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'

export type Trouble = 'refuses' | 'hangs up' | 'is silent' | { sqlstate: string }

export interface Front {
  /** Sets what happens to new connections; the existing connections are cut. */
  set(trouble: Trouble | 'passes'): Promise<void>
  close(): Promise<void>
}

export async function startFront(port: number, target: { host: string; port: number }): Promise<Front> {
  const sockets = new Set<Socket>()
  let trouble: Trouble | 'passes' = 'refuses'
  let server: Server | undefined

  function serve(inbound: Socket): void {
    sockets.add(inbound)
    inbound.on('error', () => {})
    inbound.on('close', () => sockets.delete(inbound))
    if (trouble === 'hangs up') return void inbound.end()
    if (trouble === 'is silent') return
    if (typeof trouble === 'object') {
      const { sqlstate } = trouble
      inbound.once('data', () => inbound.end(fatal(sqlstate)))
      return
    }
    const outbound = connect(target)
    outbound.on('error', () => {})
    outbound.on('close', () => inbound.destroy())
    inbound.on('close', () => outbound.destroy())
    inbound.pipe(outbound).pipe(inbound)
  }

  async function stop(): Promise<void> {
    for (const socket of sockets) socket.destroy()
    if (!server) return
    server.close()
    await once(server, 'close')
    server = undefined
  }

  return {
    async set(next) {
      await stop()
      trouble = next
      if (next === 'refuses') return
      server = createServer(serve)
      server.listen(port, '127.0.0.1')
      await once(server, 'listening')
    },
    close: stop,
  }
}

/** An ErrorResponse of PostgreSQL's protocol. */
function fatal(sqlstate: string): Buffer {
  const fields = Buffer.from(`SFATAL\0VFATAL\0C${sqlstate}\0Mrefused for the sake of a test\0\0`)
  const head = Buffer.alloc(5)
  head.write('E')
  head.writeInt32BE(fields.length + 4, 1)
  return Buffer.concat([head, fields])
}
