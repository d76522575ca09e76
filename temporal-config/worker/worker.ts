// The workers of one process: one for the workflows and the deliveries, one for the background queue.
import { fileURLToPath } from 'node:url'
import {
  bundleWorkflowCode,
  type NativeConnection,
  Worker,
  type WorkflowBundle,
  type WorkflowBundleOption,
} from '@temporalio/worker'
import { createBackgroundActivities } from '../../activities/background.ts'
import type { ActivityDeps } from '../../activities/deps.ts'
import { createActivities } from '../../activities/index.ts'
import { safeFailures } from '../../activities/interceptor.ts'
import { announceMaintenance } from '../../activities/upkeep/maintain.ts'
import { backgroundQueue } from '../../workflows/names.ts'

/** A send may take this long after SIGTERM. Then it is aborted and its attempt closed as `WORKER_LOST`. */
const GRACE = '30 s'
const DELIVERY_SLOTS = 100
const BACKGROUND_SLOTS = 20
/** Runs kept in memory per process, about 100 kB each. Other runs are replayed from their histories when needed. */
const CACHED_RUNS = 1000
const USAGE_FLUSH_MS = 10_000

export interface WorkersOptions {
  connection: NativeConnection
  namespace: string
  taskQueue: string
  workflows: WorkflowBundleOption
  deps: ActivityDeps
  /** Grace time for sends that are under way; tests shorten it. */
  shutdownGraceTime?: `${number} s` | `${number} ms`
}

export interface Workers {
  /** Settles when both have ended; rejects when one fails. */
  ended: Promise<void>
  /** Stops polling, lets sends end within the grace time, and resolves when all has ended. */
  shutdown(): Promise<void>
}

/** The workflows' code in one piece, as the workers run it. */
export function bundleWorkflows(): Promise<WorkflowBundle> {
  return bundleWorkflowCode({
    workflowsPath: fileURLToPath(new URL('../../workflows/index.ts', import.meta.url)),
    logger: { trace() {}, debug() {}, info() {}, warn: console.warn, error: console.error, log() {} },
  })
}

/** Creates the workers and starts them. */
export async function startWorkers(options: WorkersOptions): Promise<Workers> {
  const { connection, namespace, taskQueue, workflows, deps } = options
  const shared = {
    connection,
    namespace,
    interceptors: { activity: [safeFailures(deps.logger)] },
    shutdownGraceTime: options.shutdownGraceTime ?? GRACE,
    // By default, a cancellation waits many seconds until the next heartbeat reads it.
    maxHeartbeatThrottleInterval: deps.timing.heartbeat_ms,
  }
  const main = await Worker.create({
    ...shared,
    taskQueue,
    workflowBundle: workflows,
    activities: createActivities(deps),
    maxConcurrentActivityTaskExecutions: DELIVERY_SLOTS,
    maxCachedWorkflows: CACHED_RUNS,
  })
  const background = await Worker.create({
    ...shared,
    taskQueue: backgroundQueue(taskQueue),
    activities: createBackgroundActivities(deps),
    maxConcurrentActivityTaskExecutions: BACKGROUND_SLOTS,
  })
  const workers = [main, background]
  announceMaintenance(deps.metrics)
  const flushing = setInterval(() => void deps.usage.flush(), USAGE_FLUSH_MS)
  deps.metrics.activeWorkers.set({ worker_type: 'delivery' }, 1)
  deps.metrics.activeWorkers.set({ worker_type: 'background' }, 1)
  const stop = () => {
    for (const worker of workers) if (worker.getState() === 'RUNNING') worker.shutdown()
  }
  const ended = Promise.all(
    workers.map((worker) =>
      worker.run().catch((error: unknown) => {
        stop()
        throw error
      }),
    ),
  )
    .then(() => {})
    .finally(async () => {
      clearInterval(flushing)
      deps.metrics.activeWorkers.reset()
      await deps.usage.flush()
    })
  ended.catch(() => {})
  return {
    ended,
    async shutdown() {
      stop()
      await ended
    },
  }
}
