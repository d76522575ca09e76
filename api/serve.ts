// Creates the API within a program, and listens.
import { readFileSync } from 'node:fs'
import { createApp } from './app.ts'
import type { AppDeps } from './http/context.ts'
import { readiness } from './http/health.ts'
import { listen } from './http/listen.ts'

export interface ServeOptions {
  host: string
  /** 0: a free port. */
  port: number
  /** Registers the function that closes the port; the program calls it at its end. */
  atEnd: (close: () => Promise<unknown>) => void
}

export interface ServedApi {
  url: string
  /** The checks of `/health/ready` that fail at the moment. */
  failing(): Promise<string[]>
}

/**
 * Listens until the program ends.
 * @throws the error of `listen`, such as EADDRINUSE
 */
export async function serveApi(deps: Omit<AppDeps, 'version'>, options: ServeOptions): Promise<ServedApi> {
  const app = createApp({ ...deps, version: version() })
  const listening = await listen(app.fetch, options.host, options.port)
  options.atEnd(() => listening.close())
  return { url: listening.url, failing: async () => (await readiness(deps)).failing }
}

function version(): string {
  return (JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }).version
}
