// Servers that all files of a run share and not every run needs: the run's own process starts one when the first file
// asks for it, and ends it with the run.
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

const START = {
  'postgres-15': async () => (await import('./postgres-15.ts')).startPostgres15(),
}
export type SharedServer = keyof typeof START

/** Answers, on a port of loopback, where each server is; `close` ends those that were started. */
export async function serveSharedServers(): Promise<{ url: string; close(): Promise<void> }> {
  const started = new Map<string, Promise<{ url: string; stop(): Promise<void> }>>()
  const server = createServer((request, response) => {
    const name = request.url!.slice(1) as SharedServer
    if (!started.has(name)) started.set(name, START[name]())
    started.get(name)!.then(
      ({ url }) => response.end(url),
      (error: Error) => response.writeHead(500).end(error.message),
    )
  })
  server.listen(0, '127.0.0.1').unref()
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async close() {
      server.closeAllConnections()
      server.close()
      for (const one of await Promise.allSettled(started.values()))
        if (one.status === 'fulfilled') await one.value.stop()
    },
  }
}

/** The superuser's URL of this server of the run. Its databases are the file's own; its settings are not to be changed. */
export async function sharedServer(name: SharedServer): Promise<{ url: string }> {
  const answer = await fetch(`${process.env.TEST_SHARED_SERVERS}/${name}`)
  const text = await answer.text()
  if (!answer.ok) throw new Error(text)
  return { url: text }
}
