// Free loopback ports for the servers that this program starts.
import { createServer } from 'node:net'

/** `preferred` if it is free, else the next free one after it; 0 takes any free port. The ports in `not` are not used. */
export async function freePort(preferred: number, not: readonly number[] = []): Promise<number> {
  if (preferred === 0) return (await listens(0)) ?? Promise.reject(new Error('no free port'))
  for (let port = preferred; port < preferred + 1000 && port <= 65_535; port++) {
    if (!not.includes(port) && (await listens(port)) !== undefined) return port
  }
  throw new Error(`no free port from ${preferred} on`)
}

function listens(port: number): Promise<number | undefined> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(undefined))
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () => {
      const address = server.address()
      server.close(() => resolve(typeof address === 'object' ? address?.port : undefined))
    })
  })
}
