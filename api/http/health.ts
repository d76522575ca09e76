// Is this process fit to take work? Each check has a name and a yes or no; addresses and errors stay in the log.

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
  /** What should be put right, and lets work go on. */
  warnings: string[]
}

type HealthDeps = Pick<AppDeps, 'pool' | 'dispatcher' | 'logger' | 'databaseFound'>

/** Asks everything at once; never throws, and answers within some seconds whatever hangs. */
export async function readiness(deps: HealthDeps): Promise<Readiness> {
  const [months, temporal] = await Promise.all([monthsAhead(deps), deps.dispatcher.health()])
  const checks: Record<Check, boolean> = {
    database: months !== null,
    // The month to come must stand ready; without the present one nothing can be inserted at all.
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

/** Null when the database does not answer in time, or takes no writes. */
async function monthsAhead({ pool, logger, databaseFound }: HealthDeps): Promise<number | null> {
  // The log says already that it is waited for.
  if (databaseFound?.() === false) return null
  return await askDatabase(pool, partitionsAhead).catch((error: unknown) => {
    logger.warn({ err: error }, 'the database does not answer')
    return null
  })
}
