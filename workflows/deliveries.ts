// The deliveries of one run of `distribute`: they run concurrently, each until its row is final.
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

/** For infrastructure errors: retried without limit, because they do not count as attempts of the delivery. */
export const RETRY_FOREVER = { initialInterval: '1 s', backoffCoefficient: 2, maximumInterval: '30 s' } as const

const { record } = proxyActivities<Pick<Activities, 'record'>>({ startToCloseTimeout: '30 s', retry: RETRY_FOREVER })
const { deliver } = proxyActivities<Pick<Activities, 'deliver'>>({
  // Longer than the longest deadline of a destination (600 s), so that a send ends by its own deadline.
  startToCloseTimeout: '660 s',
  // The default TRY_CANCEL would let `finish` run while a send is still in progress.
  cancellationType: ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
  retry: RETRY_FOREVER,
})

/** Activities scheduled in one workflow task: a thousand at once would exceed the size of a message. */
const CHUNK = 200
/**
 * A held delivery is signalled when its turn comes, if necessary by the sweep. Until then it makes no calls, so that
 * no history grows even with ten thousand held deliveries.
 */
const LONGEST_HOLD_MS = 86_400_000

/** The state that the deliveries of a run share. */
export interface Run {
  ref: DistributionRef
  running: RunningDeliveries
  turns: Turns
  /** Makes the run reread its rows. */
  reread: () => void
  /** Makes the run fail; only for errors in this code. */
  fail: (error: unknown) => void
}

/** Starts the deliveries that are open and do not run yet. */
export async function startDeliveries(run: Run, planned: Plan): Promise<void> {
  const { ref, running, reread, fail } = run
  // A retry may reopen a delivery whose activity has not ended yet; the end of that activity must not end the retry.
  for (const { name, round, resumes } of planned.deliveries) running.note(name, round, resumes)
  const priority = priorityOf(ref, planned)
  const idle = planned.deliveries.filter((delivery) => !running.has(delivery.name))
  for (let from = 0; from < idle.length; from += CHUNK) {
    if (from > 0) await sleep(1)
    for (const delivery of idle.slice(from, from + CHUNK)) {
      const scope = new CancellationScope({ cancellable: true })
      let held = false
      const hold = (is: boolean) => {
        held = is
      }
      const ended = scope.run(() => deliverTo(run, delivery, planned.lost_after_ms, priority, hold))
      const done = delivery.has_standby ? ended.finally(reread) : ended
      const { name, protocol, round, resumes } = delivery
      const stop = () => scope.cancel()
      running.add(name, { done, stop, protocol, round, resumes, isHeld: () => held }, fail, reread)
    }
  }
}

/** The priority that a rule has set, with or without fairness like the run itself. */
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
  hold: (held: boolean) => void,
): Promise<void> {
  const input = { ...ref, destination: name, ...(resumes === undefined ? {} : { resumes }) }
  const options = { summary: `${protocol} → ${name}`, ...(priority ? { priority } : {}) }
  try {
    for (let checks = 0; ; ) {
      // Read before the call, so that a signal during the call is not lost.
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
        hold(true)
        await condition(() => turns.of(name) !== seen, longest, { summary: `turn at ${name}` })
        hold(false)
      } else {
        // The delivery was resumed, but the signal was lost.
        if (delivered.resumed) reread()
        return
      }
    }
  } catch (error) {
    // A final failure: the row has the reason, and the other deliveries continue.
    if (error instanceof ActivityFailure || isCancellation(error)) return
    throw error
  }
}

/** The delay while earlier distributions of the key are not planned, so that their destinations are unknown. */
function recheckDelay(checks: number): number {
  return Math.min(900_000, 1000 * 2 ** checks)
}
