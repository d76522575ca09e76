// Whether this process can accept work. Each check has a name and passes or fails; addresses and errors stay in the log.

import { clockWarning } from '../../db/clock.ts'
import { askDatabase } from '../../db/health.ts'
import { partitionsAhead } from '../../db/upkeep/partitions.ts'
import type { AppDeps } from './context.ts'

export const CHECKS = ['database', 'partitions', 'temporal', 'search_attributes', 'worker'] as const
export type Check = (typeof CHECKS)[number]

export interface Readiness {
  checks: Record<Check, boolean>
  failing: Check[]
  missing_search_attributes: string[]
  partitions_ahead: number | null
  /** Problems to fix that do not stop the service. */
  warnings: string[]
}

type HealthDeps = Pick<AppDeps, 'pool' | 'dispatcher' | 'logger' | 'databaseFound'>

/** Runs all checks at once. Never throws, and resolves within some seconds even if a server hangs. */
export async function readiness(deps: HealthDeps): Promise<Readiness> {
  const [months, temporal] = await Promise.all([monthsAhead(deps), deps.dispatcher.health()])
  const checks: Record<Check, boolean> = {
    database: months !== null,
    // The partition of the next month must exist; without that of the current month nothing can be inserted.
    partitions: months !== null && months >= 1,
    temporal: temporal.temporal,
    search_attributes: temporal.temporal && temporal.missing_search_attributes.length === 0,
    worker: temporal.worker_polling,
  }
  return {
    checks,
    failing: CHECKS.filter((check) => !checks[check]),
    missing_search_attributes: [...temporal.missing_search_attributes],
    partitions_ahead: months,
    warnings: [clockWarning() ?? []].flat(),
  }
}

/** Null if the database does not answer in time, or accepts no writes. */
async function monthsAhead({ pool, logger, databaseFound }: HealthDeps): Promise<number | null> {
  // The log already has a line that the process waits for it.
  if (databaseFound?.() === false) return null
  return await askDatabase(pool, partitionsAhead).catch((error: unknown) => {
    logger.warn({ err: error }, 'the database does not answer')
    return null
  })
}
