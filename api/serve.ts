// The API as a part of a program: made from the program's parts, listening at its settings' address.
import { readFileSync } from 'node:fs'
import type { Dispatcher } from '../temporal-config/client/dispatcher.ts'
import type { Metrics } from '../temporal-config/process/metrics.ts'
import { type Life, StartRefused } from '../temporal-config/process/program.ts'
import type { Settings } from '../temporal-config/process/settings.ts'
import type { Parts } from '../temporal-config/programs/composition.ts'
import { createApp } from './app.ts'
import { readiness } from './http/health.ts'
import { listen } from './http/listen.ts'

export interface ServedApi {
  url: string
  /** The checks of `/health/ready` that fail just now. */
  failing(): Promise<string[]>
}

/** Listens until the program ends. */
export async function serveApi(
  parts: Parts,
  dispatcher: Dispatcher,
  registry: Metrics['registry'],
  settings: Settings,
  life: Life,
): Promise<ServedApi> {
  const app = createApp({
    ...parts,
    dispatcher,
    registry,
    limits: { max_body_bytes: settings.MAX_BODY_BYTES },
    version: version(),
    databaseFound: parts.database.isFound,
  })
  const listening = await listen(app.fetch, settings.API_HOST, settings.API_PORT).catch(refuse)
  life.atEnd('the API', () => listening.close())
  parts.own.add(listening.url)
  return {
    url: listening.url,
    failing: async () => (await readiness({ ...parts, dispatcher, databaseFound: parts.database.isFound })).failing,
  }

  function refuse(error: NodeJS.ErrnoException): never {
    throw portRefused('API', settings.API_HOST, settings.API_PORT, error)
  }
}

/** Opens the port for a moment, before anything slow is started for nothing. */
export async function refuseTakenPort(settings: Settings): Promise<void> {
  if (settings.API_PORT === 0) return
  try {
    const tried = await listen(() => new Response(), settings.API_HOST, settings.API_PORT)
    await tried.close()
  } catch (error) {
    throw portRefused('API', settings.API_HOST, settings.API_PORT, error as NodeJS.ErrnoException)
  }
}

function portRefused(prefix: string, host: string, port: number, error: NodeJS.ErrnoException): StartRefused {
  switch (error.code) {
    case 'EADDRINUSE':
      return new StartRefused(`${prefix}_PORT: ${host}:${port} is taken by another program; 0 takes a free port`)
    case 'EACCES':
      return new StartRefused(`${prefix}_PORT: ${host}:${port} may not be opened by this user`)
    default:
      return new StartRefused(`${prefix}_HOST: ${host} cannot be listened on (${error.code ?? error.message})`)
  }
}

function version(): string {
  return (JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }).version
}
