// One distribution: plan it, deliver to all destinations concurrently, end it, send its callback. The state is in the
// rows in PostgreSQL. A signal only means that they have changed.
import { defineSearchAttributeKey, SearchAttributeType, WorkflowExecutionAlreadyStartedError } from '@temporalio/common'
import {
  CancellationScope,
  condition,
  continueAsNew,
  defineQuery,
  defineSignal,
  defineUpdate,
  log,
  ParentClosePolicy,
  patched,
  proxyActivities,
  proxyLocalActivities,
  setDefaultSignalHandler,
  setHandler,
  sleep,
  startChild,
  upsertSearchAttributes,
  workflowInfo,
} from '@temporalio/workflow'
import type { Activities } from '../activities/index.ts'
import type { JobStatus } from '../db/states.ts'
import { Commands, isInRows } from './commands.ts'
import { RETRY_FOREVER, startDeliveries } from './deliveries.ts'
import {
  type CancelArgument,
  COMMANDS,
  type CommandAnswer,
  type DistributionRef,
  type FinishInput,
  type FinishResult,
  type InRows,
  type Plan,
  type PlanInput,
  REREAD_SIGNAL,
  type RetryArgument,
  type RunStatus,
  TURN_SIGNAL,
  type WebhookRef,
} from './messages.ts'
import { webhookWorkflowId } from './names.ts'
import { RunningDeliveries } from './running.ts'
import { Turns } from './turns.ts'
import { webhook } from './webhook.ts'

type Argument = CancelArgument | RetryArgument
const DESCRIPTIONS = {
  cancel: 'Cancels the distribution as the API does. Optional argument: {"reason": "…"}',
  retry:
    'Sends failed, skipped and cancelled deliveries again, as the API does. Optional argument: {"destinations": ["…"], "force": true, "timeout_seconds": 3600}. A closed run needs signal-with-start',
}
export const statusQuery = defineQuery<RunStatus>('status')
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
  const commands = new Commands()
  let planned: Plan | undefined
  let wait: Pick<RunStatus, 'waits_for' | 'until'> = { waits_for: 'plan', until: null }
  const reread = () => {
    changed = true
  }
  const fail = (error: unknown) => {
    failure = error
  }
  for (const command of COMMANDS) {
    const description = DESCRIPTIONS[command]
    setHandler(
      defineSignal<[argument?: Argument | InRows]>(command),
      // A refusal is in the history and in the query; a signal has no answer.
      (argument) =>
        // In version 0.2.0 the signals of the API had no argument.
        isInRows(argument) || !patched('commands-by-hand')
          ? reread()
          : void commands.take(command, argument).catch(() => {}),
      { description },
    )
    setHandler(
      defineUpdate<CommandAnswer, [argument?: Argument]>(command),
      (argument) => commands.take(command, argument),
      { description: `${description}. Answers when it is applied, or with the reason why it cannot be` },
    )
  }
  setHandler(statusQuery, () => statusOf(planned, wait, running, commands), {
    description: 'What this run does and waits for, without the database',
  })
  setHandler(rereadSignal, reread, { description: 'Internal: the rows of the distribution have changed' })
  setHandler(turnSignal, (destinations) => turns.come(destinations), {
    description: 'Internal: deliveries that were held for earlier distributions of the ordering key may go on',
  })
  // Their names in version 0.2.0.
  setDefaultSignalHandler((name, destinations) => {
    if (name === 'reread') reread()
    if (name === 'turn') turns.come(destinations as string[] | undefined)
  })
  CancellationScope.current().cancelRequested.catch(() => {
    cancelledInTemporal = true
  })
  const interrupted = () => changed || commands.waiting || cancelledInTemporal || failure !== undefined

  // A cancellation in Temporal's UI ends the distribution like any other cancel. It must not end this code.
  return await CancellationScope.nonCancellable(async () => {
    for (;;) {
      changed = false
      planned = await planNow(ref)
      if (planned.attributes) label(planned.attributes)
      if (commands.waiting) {
        await commands.applyAll(ref, planned.round)
        continue
      }
      let cause: FinishInput['cause'] = cancelledInTemporal || planned.cancel_requested ? 'cancelled' : 'done'

      if (cause === 'done' && !planned.final) {
        if (planned.delay_ms > 0 && planned.expires_in_ms > 0) {
          const untilDue = Math.min(planned.delay_ms, planned.expires_in_ms)
          wait = waitFor('deliver_at', untilDue)
          await condition(interrupted, untilDue, { summary: 'deliver_at' })
          continue
        }
        for (const name of planned.ended ?? []) running.stop(name)
        if (planned.expires_in_ms > 0) await startDeliveries({ ref, running, turns, reread, fail }, planned)
        const untilExpiry = Math.max(1, planned.expires_in_ms)
        wait = waitFor('deliveries', untilExpiry)
        const inTime = await condition(() => interrupted() || running.empty, untilExpiry, { summary: 'expires_at' })
        if (failure !== undefined) throw failure
        if (interrupted()) continue
        if (!inTime) cause = 'expired'
      }

      wait = { waits_for: 'end', until: null }
      running.stopAll()
      await condition(() => running.empty)
      const finished = await finishNow({ ...ref, round: planned.round, cause })
      if (finished.again) {
        // Rare: a delivery is open, but it is not running in this run. The pause prevents a tight loop.
        if (!changed && !commands.waiting) await sleep('1 s')
        continue
      }
      showStatus(finished.status)
      if (finished.webhook_id) await startWebhook({ tenant_id: ref.tenant_id, webhook_id: finished.webhook_id })
      if (!changed && !commands.waiting) return { status: finished.status }
      cancelledInTemporal = false
      // A command that waits would be lost.
      if (!commands.waiting && workflowInfo().continueAsNewSuggested) await continueAsNew<typeof distribute>(ref)
    }
  })
}

function waitFor(waits_for: RunStatus['waits_for'], milliseconds: number): Pick<RunStatus, 'waits_for' | 'until'> {
  return { waits_for, until: new Date(Date.now() + milliseconds).toISOString() }
}

function statusOf(
  planned: Plan | undefined,
  wait: Pick<RunStatus, 'waits_for' | 'until'>,
  running: RunningDeliveries,
  commands: Commands,
): RunStatus {
  return { round: planned?.round ?? null, ...wait, deliveries: running.list(), last_command: commands.last }
}

async function planNow(ref: DistributionRef): Promise<Plan> {
  const input: PlanInput = isLabelled() ? ref : { ...ref, unlabelled: true }
  try {
    return await quick.plan(input)
  } catch (error) {
    log.warn('plan is repeated as an ordinary activity', { error: String(error) })
    return await plan(input)
  }
}

/** False for a run that was started by hand, or in a namespace without the attributes. */
function isLabelled(): boolean {
  return workflowInfo().typedSearchAttributes.get(STATUS) !== undefined
}

function label(attributes: [name: string, value: string][]): void {
  if (attributes.length === 0) return
  upsertSearchAttributes(
    attributes.map(([name, value]) => ({ key: defineSearchAttributeKey(name, SearchAttributeType.KEYWORD), value })),
  )
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
  if (!isLabelled()) return
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
