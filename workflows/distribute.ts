// One distribution: plan it, deliver to every destination side by side, end it, tell its owner. The rows in PostgreSQL
// hold the truth; a signal only says «look at them again».

import { defineSearchAttributeKey, SearchAttributeType, WorkflowExecutionAlreadyStartedError } from '@temporalio/common'
import {
  ActivityCancellationType,
  ActivityFailure,
  CancellationScope,
  condition,
  continueAsNew,
  defineSignal,
  isCancellation,
  log,
  ParentClosePolicy,
  proxyActivities,
  proxyLocalActivities,
  setHandler,
  sleep,
  startChild,
  upsertSearchAttributes,
  workflowInfo,
} from '@temporalio/workflow'
import type { Activities } from '../activities/index.ts'
import type { JobStatus } from '../db/states.ts'
import {
  CANCEL_SIGNAL,
  type DistributionRef,
  type FinishInput,
  type FinishResult,
  LOOK_SIGNAL,
  type Plan,
  type PlannedDelivery,
  RETRY_SIGNAL,
  TURN_SIGNAL,
} from './messages.ts'
import { callbackWorkflowId, type QueuePriority, queuePriority } from './names.ts'
import { notify } from './notify.ts'
import { RunningDeliveries } from './running.ts'
import { Turns } from './turns.ts'

/** Infrastructure errors: tried again without end, for they cost no attempt of the tenant's. */
const PATIENT = { initialInterval: '1 s', backoffCoefficient: 2, maximumInterval: '30 s' } as const

/** Cheap and nearly always enough; on any failure the ordinary activity of the same name takes over. */
const quick = proxyLocalActivities<Pick<Activities, 'plan' | 'finish'>>({
  startToCloseTimeout: '2 s',
  scheduleToCloseTimeout: '4 s',
  retry: { maximumAttempts: 2 },
})
const { plan, finish, record } = proxyActivities<Pick<Activities, 'plan' | 'finish' | 'record'>>({
  startToCloseTimeout: '30 s',
  retry: PATIENT,
})
const { deliver } = proxyActivities<Pick<Activities, 'deliver'>>({
  // Longer than the longest deadline of a destination (600 s), so that a send ends by its own deadline.
  startToCloseTimeout: '660 s',
  heartbeatTimeout: '30 s',
  // Left out, it would act as TRY_CANCEL: `finish` would run beside a send that still goes on.
  cancellationType: ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
  retry: PATIENT,
})

export const cancelSignal = defineSignal(CANCEL_SIGNAL)
export const retrySignal = defineSignal(RETRY_SIGNAL)
export const lookSignal = defineSignal(LOOK_SIGNAL)
export const turnSignal = defineSignal<[destinations?: string[]]>(TURN_SIGNAL)
const STATUS = defineSearchAttributeKey('DistributionStatus', SearchAttributeType.KEYWORD)

/** So many activities are scheduled in one workflow task: a thousand at once would pass the size of a message. */
const CHUNK = 200

export async function distribute(ref: DistributionRef): Promise<{ status: JobStatus }> {
  let look = false
  let cancelledInTemporal = false
  let failure: unknown
  const running = new RunningDeliveries()
  const lookAgain = () => {
    look = true
  }
  const fail = (error: unknown) => {
    failure = error
  }
  setHandler(cancelSignal, lookAgain)
  setHandler(retrySignal, lookAgain)
  setHandler(lookSignal, lookAgain)
  const turns = new Turns()
  setHandler(turnSignal, (destinations) => turns.come(destinations))
  CancellationScope.current().cancelRequested.catch(() => {
    cancelledInTemporal = true
  })
  const woken = () => look || cancelledInTemporal || failure !== undefined

  // A cancellation from Temporal's UI ends the distribution like any other order to cancel; it must not end this code.
  return await CancellationScope.nonCancellable(async () => {
    for (;;) {
      look = false
      const planned = await planNow(ref)
      let cause: FinishInput['cause'] = cancelledInTemporal || planned.cancel_requested ? 'cancelled' : 'done'

      if (cause === 'done' && !planned.final) {
        if (planned.delay_ms > 0 && planned.expires_in_ms > 0) {
          await condition(woken, Math.min(planned.delay_ms, planned.expires_in_ms), { summary: 'deliver_at' })
          continue
        }
        for (const name of planned.ended ?? []) running.stop(name)
        if (planned.expires_in_ms > 0) await startDeliveries(ref, planned, running, fail, lookAgain, turns)
        const inTime = await condition(() => woken() || running.empty, Math.max(1, planned.expires_in_ms), {
          summary: 'expires_at',
        })
        if (failure !== undefined) throw failure
        if (woken()) continue
        if (!inTime) cause = 'expired'
      }

      running.stopAll()
      await condition(() => running.empty)
      const finished = await finishNow({ ...ref, round: planned.round, cause })
      if (finished.again) {
        // Something is open that nobody here works at: rare, and never to be asked in a tight loop.
        if (!look) await sleep('1 s')
        continue
      }
      showStatus(finished.status)
      if (finished.notify) await startNotify(ref, planned.round)
      if (!look) return { status: finished.status }
      cancelledInTemporal = false
      if (workflowInfo().continueAsNewSuggested) await continueAsNew<typeof distribute>(ref)
    }
  })
}

/** That of the activities, where a rule has changed it: by the same mechanism as the run's own. */
function priorityOf(ref: DistributionRef, { priority, priority_key }: Plan): Partial<QueuePriority> | undefined {
  if (priority === undefined) return priority_key === undefined ? undefined : { priorityKey: priority_key }
  return queuePriority(ref.tenant_id, priority, (workflowInfo().priority?.fairnessWeight ?? 0) > 0)
}

/** Starts what is open and not running yet. */
async function startDeliveries(
  ref: DistributionRef,
  planned: Plan,
  running: RunningDeliveries,
  onError: (error: unknown) => void,
  lookAgain: () => void,
  turns: Turns,
): Promise<void> {
  // A retry may come between a delivery's final row and the end of its activity: that end must not pass for the retry's.
  for (const { name, round, wakes } of planned.deliveries) running.note(name, round, wakes)
  const priority = priorityOf(ref, planned)
  const idle = planned.deliveries.filter((delivery) => !running.has(delivery.name))
  for (let from = 0; from < idle.length; from += CHUNK) {
    if (from > 0) await sleep(1)
    for (const delivery of idle.slice(from, from + CHUNK)) {
      const scope = new CancellationScope({ cancellable: true })
      const ended = scope.run(() => deliverTo(ref, delivery, priority, turns, lookAgain))
      // Its end may be another one's turn, which the rows know.
      const done = delivery.backed ? ended.finally(lookAgain) : ended
      const { name, round, wakes } = delivery
      running.add(name, { done, stop: () => scope.cancel(), round, wakes }, onError, lookAgain)
    }
  }
}

/**
 * One destination, until its row is final or the scope is cancelled. Attempts, delays and the budget are the activity's;
 * here it is called again only when an outcome had to come through the history.
 */
async function deliverTo(
  ref: DistributionRef,
  { name, protocol, wakes }: PlannedDelivery,
  priority: Partial<QueuePriority> | undefined,
  turns: Turns,
  lookAgain: () => void,
): Promise<void> {
  const input = { ...ref, destination: name, ...(wakes === undefined ? {} : { wakes }) }
  const named = { summary: `${protocol} → ${name}`, ...(priority ? { priority } : {}) }
  try {
    for (let looks = 0; ; ) {
      // Before the call: a turn that comes while it decides to hold counts.
      const seen = turns.of(name)
      const delivered = await deliver.executeWithOptions(named, [input])
      if (delivered.recorded && delivered.held) {
        const longest = delivered.look ? lookAfter(looks++) : LONGEST_HOLD_MS
        await condition(() => turns.of(name) !== seen, longest, { summary: `turn at ${name}` })
        continue
      }
      if (delivered.recorded) {
        // The word that it was woken got lost: its row tells.
        if (delivered.overtaken) lookAgain()
        return
      }
      const { outcome } = delivered
      const recorded = await CancellationScope.nonCancellable(() =>
        record.executeWithOptions(named, [{ ...input, outcome }]),
      )
      if (recorded.final) return
    }
  } catch (error) {
    // A final failure: the row has its reason, and siblings go on.
    if (error instanceof ActivityFailure || isCancellation(error)) return
    throw error
  }
}

/**
 * A held delivery is told when its turn has come, if need be by the sweep: ten thousand of them ask nobody meanwhile, and
 * their histories do not grow.
 */
const LONGEST_HOLD_MS = 86_400_000

/** While it is not known yet whether those before it go there at all. */
function lookAfter(looks: number): number {
  return Math.min(900_000, 1000 * 2 ** looks)
}

async function planNow(ref: DistributionRef): Promise<Plan> {
  try {
    return await quick.plan(ref)
  } catch (error) {
    log.warn('plan goes on as an ordinary activity', { error: String(error) })
    return await plan(ref)
  }
}

async function finishNow(input: FinishInput): Promise<FinishResult> {
  try {
    return await quick.finish(input)
  } catch (error) {
    log.warn('finish goes on as an ordinary activity', { error: String(error) })
    return await finish(input)
  }
}

/** Only where the start could set it: naming an attribute that the namespace does not have would block the run. */
function showStatus(status: JobStatus): void {
  if (workflowInfo().typedSearchAttributes.get(STATUS) === undefined) return
  upsertSearchAttributes([{ key: STATUS, value: status }])
}

/** Waits only until the callback's own workflow exists: a hanging callback URL delays nothing. */
async function startNotify(ref: DistributionRef, round: number): Promise<void> {
  try {
    await startChild(notify, {
      args: [{ ...ref, round }],
      workflowId: callbackWorkflowId(ref, round),
      parentClosePolicy: ParentClosePolicy.ABANDON,
    })
  } catch (error) {
    if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error
  }
}
