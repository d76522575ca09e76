// Where the servers and the keys are: the addresses that were given, or the embedded servers' own.
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { PROTOCOLS } from '../../activities/destinations/registry.ts'
import { migrate, SchemaRefused } from '../../db/upkeep/migrate.ts'
import type { TemporalAddress } from '../client/connection.ts'
import { type Started, StartRefused } from '../process/program.ts'
import { type Settings, wholeEnvironment } from '../process/settings.ts'
import { admitLogin, ensureDatabase } from './database.ts'
import { kept } from './kept.ts'
import { runningStack, StackRefused, startStack } from './stack.ts'

export interface Surroundings {
  database_url: string
  temporal: TemporalAddress
  encryption_keys: string
  /** The first tenant's key, and the file that contains it if it was generated here. */
  bootstrap_api_key?: string | undefined
  bootstrap_api_key_file?: string
  callback_secret?: string | undefined
  /** Shows the secret of the first tenant's callbacks, where none was given; the database holds it. */
  callback_secret_file?: string
  temporal_ui?: string | undefined
  database: 'embedded' | 'given'
}

/** Starts the servers without a given address, migrates an embedded database, and generates the missing keys. */
export async function startSurroundings(what: string, { settings, life, say }: Started): Promise<Surroundings> {
  const embedDatabase = settings.DATABASE_URL === undefined
  const embedTemporal = settings.TEMPORAL_ADDRESS === undefined
  if (!embedDatabase && !embedTemporal) return given(settings)
  const stack = await startStack({
    data_dir: settings.DATA_DIR,
    what,
    ...(embedDatabase ? { postgres: { port: settings.DATABASE_PORT } } : {}),
    ...(embedTemporal
      ? {
          temporal: {
            cli: settings.TEMPORAL_CLI,
            port: settings.TEMPORAL_PORT,
            ui_port: settings.TEMPORAL_UI_PORT,
            namespace: settings.TEMPORAL_NAMESPACE,
          },
        }
      : {}),
    say,
    signal: life.ending,
  }).catch((error: unknown) => {
    throw error instanceof StackRefused ? new StartRefused(error.message) : error
  })
  life.atEnd('the embedded servers', () => stack.stop())
  void stack.lost.then((reason) => life.fail(new Error(reason)))

  const database = stack.postgres ? await embeddedDatabase(stack.postgres.url, settings, say) : undefined
  const outside = embedDatabase ? undefined : given(settings)
  return {
    ...(database ?? outside!),
    temporal: stack.temporal ? embeddedTemporal(stack.temporal.address, settings) : given(settings).temporal,
    temporal_ui: stack.temporal?.ui_url,
  }
}

/** For an API or a worker alone: the given addresses, or the embedded servers that another process keeps running. */
export function findSurroundings(settings: Settings): Surroundings {
  if (settings.DATABASE_URL && settings.TEMPORAL_ADDRESS) return given(settings)
  const running = runningStack(settings.DATA_DIR)
  const missing = [
    ...(settings.DATABASE_URL || running?.database_url ? [] : ['DATABASE_URL']),
    ...(settings.TEMPORAL_ADDRESS || running?.temporal_address ? [] : ['TEMPORAL_ADDRESS']),
  ]
  if (missing.length > 0) {
    const reason = `is required: no embedded server runs in ${settings.DATA_DIR} (npm start keeps one)`
    throw new StartRefused(...missing.map((name) => `${name}: ${reason}`))
  }
  const own = settings.DATABASE_URL ? given(settings) : { ...keys(settings), database_url: running!.database_url! }
  return {
    ...own,
    database: settings.DATABASE_URL ? 'given' : 'embedded',
    temporal: settings.TEMPORAL_ADDRESS
      ? given(settings).temporal
      : embeddedTemporal(running!.temporal_address!, settings),
  }
}

function given(settings: Settings): Surroundings {
  return {
    database: 'given',
    database_url: settings.DATABASE_URL ?? '',
    temporal: {
      address: settings.TEMPORAL_ADDRESS ?? '',
      namespace: settings.TEMPORAL_NAMESPACE,
      environment: wholeEnvironment(),
      fairness: settings.TEMPORAL_FAIRNESS === 'on',
    },
    encryption_keys: settings.ENCRYPTION_KEYS ?? '',
    bootstrap_api_key: settings.BOOTSTRAP_API_KEY,
    callback_secret: settings.CALLBACK_SECRET,
  }
}

/** Settings for another Temporal server (TLS, API key) do not apply to the embedded one. */
function embeddedTemporal(address: string, settings: Settings): TemporalAddress {
  return { address, namespace: settings.TEMPORAL_NAMESPACE }
}

async function embeddedDatabase(superuserUrl: string, settings: Settings, say: Started['say']) {
  const began = performance.now()
  const urls = await ensureDatabase(superuserUrl, settings.DATA_DIR)
  const applied = await migrate(urls.admin_url, { protocols: PROTOCOLS }).catch((error: unknown) => {
    throw error instanceof SchemaRefused ? new StartRefused(`DATA_DIR ${settings.DATA_DIR}: ${error.message}`) : error
  })
  await admitLogin(superuserUrl)
  if (applied.length > 0) {
    say(`${applied.length} migrations applied in ${((performance.now() - began) / 1000).toFixed(1)} s`)
  }
  return { ...keys(settings), database: 'embedded' as const, database_url: urls.url }
}

/** The given keys, or those that were generated in DATA_DIR at the first start. */
function keys(settings: Settings) {
  const inDataDir = (name: string) => join(settings.DATA_DIR, name)
  const keyFile = inDataDir('bootstrap-api-key')
  const random = (bytes: number) => randomBytes(bytes)
  return {
    encryption_keys:
      settings.ENCRYPTION_KEYS ?? kept(inDataDir('encryption-keys'), () => `k1:${random(32).toString('base64')}`),
    ...(settings.BOOTSTRAP_API_KEY
      ? { bootstrap_api_key: settings.BOOTSTRAP_API_KEY }
      : {
          bootstrap_api_key: kept(keyFile, () => `key_${random(24).toString('base64url')}`),
          bootstrap_api_key_file: keyFile,
        }),
    callback_secret: settings.CALLBACK_SECRET,
    ...(settings.CALLBACK_SECRET ? {} : { callback_secret_file: inDataDir('callback-secret') }),
  }
}
