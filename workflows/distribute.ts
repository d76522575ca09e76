// One distribution: plan it, deliver to all destinations concurrently, end it, send its callback. The state is in the
// rows in PostgreSQL. A signal only means that they have changed.
import { defineSearchAttributeKey, SearchAttributeType, WorkflowExecutionAlreadyStartedError } from '@temporalio/common'
import {
  CancellationScope,
  condition,
  continueAsNew,
  defineSignal,
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
import { RETRY_FOREVER, startDeliveries } from './deliveries.ts'
import {
  CANCEL_SIGNAL,
  type DistributionRef,
  type FinishInput,
  type FinishResult,
  type Plan,
  REREAD_SIGNAL,
  RETRY_SIGNAL,
  TURN_SIGNAL,
  type WebhookRef,
} from './messages.ts'
import { webhookWorkflowId } from './names.ts'
import { RunningDeliveries } from './running.ts'
import { Turns } from './turns.ts'
import { webhook } from './webhook.ts'

export const cancelSignal = defineSignal(CANCEL_SIGNAL)
export const retrySignal = defineSignal(RETRY_SIGNAL)
export const rereadSignal = defineSignal(REREAD_SIGNAL)
export const turnSignal = defineSignal<[destinations?: string[]]>(TURN_SIGNAL)

/**
 * Local activities cost less, and nearly always succeed. After any failure the ordinary activity of the same name is
 * used.
 */
const quick = proxyLocalActivities<Pick<Activities, 'plan' | 'finish'>>({
  startToCloseTimeout: '2 s',
  scheduleToCloseTimeout: '4 s',
  retry: { maximumAttempts: 2 },
})
const { plan, finish } = proxyActivities<Pick<Activities, 'plan' | 'finish'>>({
  startToCloseTimeout: '30 s',
  retry: RETRY_FOREVER,
})
const STATUS = defineSearchAttributeKey('DistributionStatus', SearchAttributeType.KEYWORD)

export async function distribute(ref: DistributionRef): Promise<{ status: JobStatus }> {
  let changed = false
  let cancelledInTemporal = false
  let failure: unknown
  const running = new RunningDeliveries()
  const turns = new Turns()
  const reread = () => {
    changed = true
  }
  const fail = (error: unknown) => {
    failure = error
  }
  setHandler(cancelSignal, reread)
  setHandler(retrySignal, reread)
  setHandler(rereadSignal, reread)
  setHandler(turnSignal, (destinations) => turns.come(destinations))
  CancellationScope.current().cancelRequested.catch(() => {
    cancelledInTemporal = true
  })
  const interrupted = () => changed || cancelledInTemporal || failure !== undefined

  // A cancellation in Temporal's UI ends the distribution like any other cancel. It must not end this code.
  return await CancellationScope.nonCancellable(async () => {
    for (;;) {
      changed = false
      const planned = await planNow(ref)
      let cause: FinishInput['cause'] = cancelledInTemporal || planned.cancel_requested ? 'cancelled' : 'done'

      if (cause === 'done' && !planned.final) {
        if (planned.delay_ms > 0 && planned.expires_in_ms > 0) {
          const untilDue = Math.min(planned.delay_ms, planned.expires_in_ms)
          await condition(interrupted, untilDue, { summary: 'deliver_at' })
          continue
        }
        for (const name of planned.ended ?? []) running.stop(name)
        if (planned.expires_in_ms > 0) await startDeliveries({ ref, running, turns, reread, fail }, planned)
        const untilExpiry = Math.max(1, planned.expires_in_ms)
        const inTime = await condition(() => interrupted() || running.empty, untilExpiry, { summary: 'expires_at' })
        if (failure !== undefined) throw failure
        if (interrupted()) continue
        if (!inTime) cause = 'expired'
      }

      running.stopAll()
      await condition(() => running.empty)
      const finished = await finishNow({ ...ref, round: planned.round, cause })
      if (finished.again) {
        // Rare: a delivery is open, but it is not running in this run. The pause prevents a tight loop.
        if (!changed) await sleep('1 s')
        continue
      }
      showStatus(finished.status)
      if (finished.webhook_id) await startWebhook({ tenant_id: ref.tenant_id, webhook_id: finished.webhook_id })
      if (!changed) return { status: finished.status }
      cancelledInTemporal = false
      if (workflowInfo().continueAsNewSuggested) await continueAsNew<typeof distribute>(ref)
    }
  })
}

async function planNow(ref: DistributionRef): Promise<Plan> {
  try {
    return await quick.plan(ref)
  } catch (error) {
    log.warn('plan is repeated as an ordinary activity', { error: String(error) })
    return await plan(ref)
  }
}

async function finishNow(input: FinishInput): Promise<FinishResult> {
  try {
    return await quick.finish(input)
  } catch (error) {
    log.warn('finish is repeated as an ordinary activity', { error: String(error) })
    return await finish(input)
  }
}

/** Only if the start has set the attribute: an attribute that the namespace does not have would block the run. */
function showStatus(status: JobStatus): void {
  if (workflowInfo().typedSearchAttributes.get(STATUS) === undefined) return
  upsertSearchAttributes([{ key: STATUS, value: status }])
}

/** Waits only until the callback's own workflow has started: a callback URL that hangs delays nothing. */
async function startWebhook(ref: WebhookRef): Promise<void> {
  try {
    await startChild(webhook, {
      args: [ref],
      workflowId: webhookWorkflowId(ref),
      parentClosePolicy: ParentClosePolicy.ABANDON,
    })
  } catch (error) {
    if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error
  }
}
