// Terminates TLS in front of a server without TLS.
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { createServer } from 'node:tls'

const pem = (name: string) => readFileSync(new URL(`./receivers/certificates/${name}`, import.meta.url), 'utf8')

/** For `localhost`, `receiver.example` and the addresses of loopback. */
export const CERTIFICATE = { certificate: pem('server.pem'), key: pem('server.key'), ca: pem('ca.pem') }

export interface TlsFront {
  port: number
  /** Bytes that clients have sent under TLS. */
  received(): number
  close(): Promise<void>
}

export async function startTlsFront(target: number): Promise<TlsFront> {
  const sockets = new Set<Socket>()
  let received = 0
  const server = createServer(
    { key: CERTIFICATE.key, cert: CERTIFICATE.certificate, ALPNProtocols: ['http/1.1', 'postgresql'] },
    (client) => {
      const inner = connect(target, '127.0.0.1')
      for (const [from, to] of [
        [client, inner],
        [inner, client],
      ] as const) {
        sockets.add(from)
        from.on('error', () => {}).on('close', () => to.destroy())
        from.pipe(to)
      }
      client.on('data', (bytes) => {
        received += bytes.length
      })
    },
  )
  server.on('tlsClientError', () => {})
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    received: () => received,
    async close() {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}
