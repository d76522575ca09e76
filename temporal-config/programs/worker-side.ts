// The workers of a process and its connection to Temporal. They start after its API, which does not wait for them.
import { hostname } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import type { NativeConnection, WorkflowBundleOption } from '@temporalio/worker'
import { backoffFor } from '../../activities/delivery/backoff.ts'
import { createPayloads } from '../../activities/delivery/payloads.ts'
import { BACKGROUND, createWorkerSlots } from '../../activities/delivery/worker-slots.ts'
import { syncSchedule } from '../../activities/schedules/submit.ts'
import { TIMING, type Timing } from '../../activities/timing.ts'
import { createUsage } from '../../activities/usage.ts'
import { healthCheckSchedules } from '../../db/destinations/health-checks.ts'
import { type Pool, withoutTenant } from '../../db/pool.ts'
import { dueSchedules } from '../../db/schedules/schedules.ts'
import type { Dispatcher, Runs } from '../../workflows/client.ts'
import type { ScheduleRef } from '../../workflows/messages.ts'
import { MAIN_QUEUE } from '../../workflows/names.ts'
import { connectPatiently, type TemporalAddress } from '../client/connection.ts'
import { createDispatcher } from '../client/dispatcher.ts'
import { temporalHealth } from '../client/health.ts'
import { reconcileHealthChecks } from '../client/health-checks.ts'
import { keepSearchAttributes } from '../client/keep-search-attributes.ts'
import { keepSchedules } from '../client/maintenance-schedules.ts'
import { createRuns } from '../client/runs.ts'
import { restoreSchedules } from '../client/schedules.ts'
import type { Life } from '../process/program.ts'
import { environmentSecrets, wholeEnvironment } from '../process/settings.ts'
import { programFolder } from '../stack/temporal-program.ts'
import { keptBundle } from '../worker/kept-bundle.ts'
import { startWorkers, type Workers } from '../worker/worker.ts'
import type { Parts } from './composition.ts'

const PAGE = 500

export interface WorkerSide {
  /** For an API in the same process: runs that it starts go directly to this process's worker if possible. */
  dispatcher: Dispatcher
  /** Settles when the workers poll for the first time. */
  polling: Promise<void>
  /** Whether they poll at the moment. */
  isPolling(): boolean
}

/** Options for the workers; only tests set them. */
export interface WorkersTuning {
  workflows?: () => Promise<WorkflowBundleOption>
  timing?: Timing
}

/** Starts the workers as soon as Temporal answers, and again if they fail. They stop with the program. */
export function runWorkers(
  parts: Parts,
  temporal: TemporalAddress,
  life: Life,
  { workflows = () => keptBundle(programFolder(wholeEnvironment())), timing = TIMING }: WorkersTuning = {},
): WorkerSide {
  const { logger } = parts
  let connection: NativeConnection | undefined
  let runs: Runs | undefined
  let workers: Workers | undefined
  let polls: () => void = () => {}
  const polling = new Promise<void>((resolve) => {
    polls = resolve
  })

  async function run(): Promise<void> {
    // Only after this wait is it known whether the database login is allowed.
    await parts.database.found
    const native = await connectPatiently(temporal, logger, life.ending)
    connection = native
    life.atEnd('the connection to Temporal', () => native.close())
    const shared = { connection: native, namespace: temporal.namespace, taskQueue: MAIN_QUEUE }
    const attributes = keepSearchAttributes(native, temporal.namespace, life.ending)
    await attributes.looked
    runs = createRuns({
      ...shared,
      eager: true,
      fairness: temporal.fairness ?? true,
      searchAttributes: attributes.present,
    })
    const deps = {
      ...parts,
      usage: createUsage(parts.pool),
      payloads: createPayloads(),
      slots: createWorkerSlots(),
      backgroundSlots: createWorkerSlots(undefined, undefined, BACKGROUND),
      timing,
      backoffFor,
      worker: `${process.pid}@${hostname()}`,
      environmentSecrets: environmentSecrets(),
      runs: () => runs,
    }
    life.atEnd('the workers', () => workers?.shutdown())
    const setters = runs
    const alsoEnsure = async () => {
      await reconcileHealthChecks(shared, await withoutTenant(parts.pool, (db) => healthCheckSchedules(db)))
      await restoreSchedules(shared, await livingSchedules(parts.pool), (ref) => syncSchedule(parts, setters, ref))
    }
    void keepSchedules({ ...shared, lost: attributes.look, alsoEnsure }, logger, life.ending)
    let bundle: WorkflowBundleOption | undefined
    while (!life.ending.aborted) {
      try {
        bundle ??= await workflows()
        workers = await startWorkers({ ...shared, workflows: bundle, deps })
        polls()
        await workers.ended
      } catch (error) {
        logger.error({ err: error }, 'the workers failed, starting again')
      }
      workers = undefined
      await pause(1000, life)
    }
  }

  run().catch((error: unknown) => life.fail(error))
  const dispatcher = createDispatcher({
    runs: () => runs,
    async health() {
      if (!connection) throw new Error('Temporal does not answer yet')
      return await temporalHealth(connection, temporal.namespace, MAIN_QUEUE)
    },
    logger,
  })
  return { dispatcher, polling, isPolling: () => workers !== undefined && !life.ending.aborted }
}

/** Every schedule that Temporal should have. */
async function livingSchedules(pool: Pool): Promise<ScheduleRef[]> {
  const living: ScheduleRef[] = []
  for (let after: string | null = null; ; ) {
    const page: Awaited<ReturnType<typeof dueSchedules>> = await withoutTenant(pool, (db) =>
      dueSchedules(db, PAGE, true, after),
    )
    living.push(...page.map(({ tenant_id, id }) => ({ tenant_id, schedule_id: id })))
    if (page.length < PAGE) return living
    after = page.at(-1)!.id
  }
}

/** Returns early, without an error, when the program ends. */
async function pause(ms: number, life: Life): Promise<void> {
  await sleep(ms, undefined, { signal: life.ending, ref: false }).catch(() => {})
}
