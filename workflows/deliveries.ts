// The deliveries of one run of `distribute`: side by side, each until its row is final.
import {
  ActivityCancellationType,
  ActivityFailure,
  CancellationScope,
  condition,
  isCancellation,
  proxyActivities,
  sleep,
  workflowInfo,
} from '@temporalio/workflow'
import type { Activities } from '../activities/index.ts'
import type { DistributionRef, Plan, PlannedDelivery } from './messages.ts'
import { type QueuePriority, queuePriority } from './names.ts'
import type { RunningDeliveries } from './running.ts'
import type { Turns } from './turns.ts'

/** For errors of the infrastructure: retried without end, because they cost no attempt of the tenant's. */
export const PATIENT = { initialInterval: '1 s', backoffCoefficient: 2, maximumInterval: '30 s' } as const

const { record } = proxyActivities<Pick<Activities, 'record'>>({ startToCloseTimeout: '30 s', retry: PATIENT })
const { deliver } = proxyActivities<Pick<Activities, 'deliver'>>({
  // Longer than the longest deadline of a destination (600 s), so that a send ends by its own deadline.
  startToCloseTimeout: '660 s',
  // Without this it would act as TRY_CANCEL: `finish` would run beside a send that has not ended.
  cancellationType: ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
  retry: PATIENT,
})

/** Activities scheduled in one workflow task: a thousand at once would exceed the size of a message. */
const CHUNK = 200
/**
 * A held delivery is signalled when its turn comes, if necessary by the sweep. Until then it does no calls, so that
 * even with ten thousand held deliveries no history grows.
 */
const LONGEST_HOLD_MS = 86_400_000

/** The state that the deliveries of a run share. */
export interface Run {
  ref: DistributionRef
  running: RunningDeliveries
  turns: Turns
  /** Has the run read its rows again. */
  reread: () => void
  /** Has the run fail: only an error in this code does that. */
  fail: (error: unknown) => void
}

/** Starts the deliveries that are open and do not run yet. */
export async function startDeliveries(run: Run, planned: Plan): Promise<void> {
  const { ref, running, reread, fail } = run
  // A retry may come between the final row of a delivery and the end of its activity, which does not end the retry.
  for (const { name, round, resumes } of planned.deliveries) running.note(name, round, resumes)
  const priority = priorityOf(ref, planned)
  const idle = planned.deliveries.filter((delivery) => !running.has(delivery.name))
  for (let from = 0; from < idle.length; from += CHUNK) {
    if (from > 0) await sleep(1)
    for (const delivery of idle.slice(from, from + CHUNK)) {
      const scope = new CancellationScope({ cancellable: true })
      const ended = scope.run(() => deliverTo(run, delivery, planned.lost_after_ms, priority))
      const done = delivery.has_standby ? ended.finally(reread) : ended
      const { name, round, resumes } = delivery
      running.add(name, { done, stop: () => scope.cancel(), round, resumes }, fail, reread)
    }
  }
}

/** The priority that a rule has set, in the same form as the run's own. */
function priorityOf({ tenant_id }: DistributionRef, { priority }: Plan): QueuePriority | undefined {
  if (priority === undefined) return undefined
  return queuePriority(tenant_id, priority, (workflowInfo().priority?.fairnessWeight ?? 0) > 0)
}

/**
 * Delivers to one destination, until its row is final or the scope is cancelled. The activity decides about attempts,
 * delays and the budget. It is called again here only when the delivery was held, or when its outcome had to be
 * recorded from the history.
 */
async function deliverTo(
  { ref, turns, reread }: Run,
  { name, protocol, resumes }: PlannedDelivery,
  heartbeatTimeout: number,
  priority: QueuePriority | undefined,
): Promise<void> {
  const input = { ...ref, destination: name, ...(resumes === undefined ? {} : { resumes }) }
  const options = { summary: `${protocol} → ${name}`, ...(priority ? { priority } : {}) }
  try {
    for (let checks = 0; ; ) {
      // Read before the call: a turn that comes while the activity decides to hold the delivery counts.
      const seen = turns.of(name)
      const delivered = await deliver.executeWithOptions({ ...options, heartbeatTimeout }, [input])
      if (!delivered.recorded) {
        const { outcome } = delivered
        const recorded = await CancellationScope.nonCancellable(() =>
          record.executeWithOptions(options, [{ ...input, outcome }]),
        )
        if (recorded.final) return
      } else if (delivered.held) {
        const longest = delivered.recheck ? recheckDelay(checks++) : LONGEST_HOLD_MS
        await condition(() => turns.of(name) !== seen, longest, { summary: `turn at ${name}` })
      } else {
        // The signal that the delivery was resumed has been lost.
        if (delivered.resumed) reread()
        return
      }
    }
  } catch (error) {
    // A final failure: the row says why, and the other deliveries go on.
    if (error instanceof ActivityFailure || isCancellation(error)) return
    throw error
  }
}

/** While it is unknown whether those ahead go to this destination at all. */
function recheckDelay(checks: number): number {
  return Math.min(900_000, 1000 * 2 ** checks)
}
