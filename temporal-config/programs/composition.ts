// What every process has: the database under the application's role, the sealer, the guard of outgoing connections, the metrics.

import type { Logger } from 'pino'
import { createEgress, type Egress } from '../../activities/destinations/network/egress.ts'
import { PROTOCOLS } from '../../activities/destinations/registry.ts'
import type { Metrics } from '../../activities/metrics.ts'
import { createShaper, type Shaper } from '../../activities/shaping/shaper.ts'
import { isUnavailable } from '../../db/availability.ts'
import { createPool, type Pool, withoutTenant, withTenant } from '../../db/pool.ts'
import { createSealer, type Sealer } from '../../db/secrets.ts'
import { missingMigrations, missingProtocols } from '../../db/upkeep/migrate.ts'
import { ApplicationRoleError, assertApplicationRole } from '../../db/upkeep/roles.ts'
import { missingSealingKeys, wrongSealingKey } from '../../db/upkeep/sealed-keys.ts'
import { keepClock, measureClock } from '../process/clock-keeper.ts'
import { createMetrics } from '../process/metrics.ts'
import { type Life, StartRefused } from '../process/program.ts'
import { addScrapedGauges } from '../process/scraped-gauges.ts'
import type { Settings } from '../process/settings.ts'
import type { Surroundings } from '../stack/embedded.ts'
import { type KnownServers, knownServers } from '../stack/own-servers.ts'
import type { SdkMetrics } from '../worker/runtime.ts'
import { type DatabaseSide, findDatabase } from './database-side.ts'

export interface Parts {
  logger: Logger
  pool: Pool
  database: DatabaseSide
  sealer: Sealer
  egress: Egress
  /** Addresses that are never allowed as a destination. */
  own: KnownServers
  metrics: Metrics
  shaper: Shaper
}

export interface AssembleOptions {
  settings: Settings
  surroundings: Surroundings
  logger: Logger
  life: Life
  /** Shown by PostgreSQL beside each connection. */
  name: string
  /** Connections of this process: 10 for the API, 20 for a worker. */
  connections: number
  /** Rows to create before anything else runs, such as the first tenant. */
  prepare?: (pool: Pool, sealer: Sealer) => Promise<void>
}

/**
 * Creates the parts and starts to look for the database, which may be unreachable. Rejects a login that bypasses row
 * security, and sealed data whose key is missing.
 */
export function assemble(options: AssembleOptions): Parts {
  const { settings, surroundings, logger, life, prepare } = options
  const pool = openPool(options)
  const sealer = createSealer(surroundings.encryption_keys)
  const check = async () => {
    await refuseUnfit(pool, sealer, settings)
    await measureClock(pool)
    await prepare?.(pool, sealer)
  }
  const database = findDatabase(check, logger, life.ending)
  void database.found.then(() => keepClock(pool, logger, life.ending)).catch(() => {})
  const metrics = createMetrics()
  addScrapedGauges(metrics.registry, pool)
  const shaper = createShaper()
  const own = knownServers(settings, surroundings.database_url)
  life.atEnd('the shaping processes', async () => shaper.close())
  return {
    logger,
    pool,
    database,
    sealer,
    own,
    egress: createEgress({ allow: settings.EGRESS_ALLOW, own: own.list }),
    metrics,
    shaper,
  }
}

/** A pool that is closed at the end; the role is not checked. */
export function openPool({ surroundings, logger, life, name, connections }: Omit<AssembleOptions, 'settings'>): Pool {
  const pool = createPool(
    { connectionString: surroundings.database_url, max: connections, application_name: `distributor-${name}` },
    (error) => logger.warn({ err: error }, 'a connection to the database was lost'),
  )
  life.atEnd('the connections to the database', () => pool.end())
  return pool
}

async function refuseUnfit(pool: Pool, sealer: Sealer, settings: Settings): Promise<void> {
  try {
    const lacking = await missingMigrations(pool)
    if (lacking.length > 0) {
      throw new StartRefused(`DATABASE_URL: the schema lacks ${lacking.length} migrations; run npm run migrate`)
    }
    await assertApplicationRole(pool)
    const absent = await missingProtocols(pool, PROTOCOLS)
    if (absent.length > 0) {
      throw new StartRefused(`DATABASE_URL: the schema lacks the protocol ${absent.join(', ')}; run npm run migrate`)
    }
    const missing = await withoutTenant(pool, (db) => missingSealingKeys(db, sealer))
    if (missing.length > 0) {
      throw new StartRefused(`ENCRYPTION_KEYS: data is sealed under ${missing.join(', ')}, which is not among the keys`)
    }
    const tenant = settings.BOOTSTRAP_TENANT
    const wrong = await withTenant(pool, tenant, (db) => wrongSealingKey(db, sealer, tenant))
    if (wrong !== undefined) {
      const where = settings.DATABASE_URL || settings.ENCRYPTION_KEYS ? '' : ` in ${settings.DATA_DIR}/encryption-keys`
      throw new StartRefused(
        `ENCRYPTION_KEYS: the key ${wrong}${where} is not the one that sealed the data, it only has the same id; put the old one there`,
      )
    }
  } catch (error) {
    if (error instanceof ApplicationRoleError) throw new StartRefused(...error.lines)
    if (error instanceof StartRefused || isUnavailable(error)) throw error
    throw new StartRefused(`DATABASE_URL: ${(error as Error).message || (error as NodeJS.ErrnoException).code}`)
  }
}

/** The registry, with the SDK's metrics after ours. */
export function withSdkMetrics(registry: Metrics['registry'], sdk: SdkMetrics): Metrics['registry'] {
  return Object.assign(Object.create(registry) as typeof registry, {
    metrics: async () => `${await registry.metrics()}${await sdk.read()}`,
  })
}
