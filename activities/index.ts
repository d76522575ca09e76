// The activities as Temporal calls them: thin wrappers that convert outcomes into results and failures, which a person can
// read in the Temporal UI. The work is in the folders beside this file, which do not use Temporal.
import { ApplicationFailure, activityInfo, CancelledFailure, Context } from '@temporalio/activity'
import { ApplicationFailureCategory } from '@temporalio/common'
import { jobId, jobOf } from '../db/distributions/job-id.ts'
import { withTenant } from '../db/pool.ts'
import { writeAudit } from '../db/tenants/audit.ts'
import {
  type CommandAnswer,
  type CommandInput,
  type DeliverInput,
  type DeliverResult,
  type DistributionRef,
  type FinishInput,
  type FinishResult,
  type Plan,
  type PlanInput,
  REFUSED,
  type RecordInput,
  type RecordResult,
} from '../workflows/messages.ts'
import { searchAttributeValues } from '../workflows/names.ts'
import { deliver } from './delivery/deliver.ts'
import { record } from './delivery/record.ts'
import { passTurn } from './delivery/turns.ts'
import type { ActivityDeps } from './deps.ts'
import { CommandRefused, command } from './distribution/command.ts'
import { finish } from './distribution/finish.ts'
import { planOrGiveUp } from './distribution/plan-or-give-up.ts'
import { createRuleCache } from './rules/rule-cache.ts'

export type Activities = ReturnType<typeof createActivities>

export function createActivities(deps: ActivityDeps) {
  const { heartbeat_ms, lost_after_ms } = deps.timing
  const rules = createRuleCache()
  return {
    async plan(ref: PlanInput): Promise<Plan> {
      // Tries of the local activity do not count, because the ordinary activity follows it.
      const { attempt, isLocal } = activityInfo()
      const found = (await planOrGiveUp(deps, ref, rules, isLocal ? 0 : attempt)) ?? (await missing(deps, ref))
      const { about, ...planned } = found
      const existing = about && deps.runs()?.searchAttributes()
      return {
        ...planned,
        lost_after_ms,
        ...(existing && { attributes: searchAttributeValues(ref, about, existing) }),
      }
    },

    async deliver(input: DeliverInput): Promise<DeliverResult> {
      const context = Context.current()
      const heart = setInterval(() => context.heartbeat(), heartbeat_ms)
      try {
        const delivered = await deliver(deps, input, {
          signal: context.cancellationSignal,
          workerLost: () => isWorkerToBlame(context),
          calls: context.info.attempt,
        })
        if ('ordered' in delivered && delivered.ordered) await passTurn(deps, jobOf(input), input.destination)
        switch (delivered.kind) {
          case 'held':
            return { recorded: true, held: true, ...(delivered.recheck ? { recheck: true } : {}) }
          case 'resumed':
            return { recorded: true, resumed: true }
          case 'over':
          case 'success':
            return { recorded: true }
          case 'unrecorded':
            return { recorded: false, outcome: delivered.outcome }
          case 'aborted':
            throw new CancelledFailure('cancelled')
          case 'failed':
            throw ApplicationFailure.nonRetryable(delivered.message, delivered.code)
          case 'later':
            throw ApplicationFailure.create({
              message: delivered.message,
              type: delivered.code,
              // A delay of 0 would mean «not set», and Temporal would use its own back-off.
              nextRetryDelay: Math.max(1, delivered.delay_ms),
              ...(delivered.deferred ? { category: ApplicationFailureCategory.BENIGN } : {}),
            })
        }
      } finally {
        clearInterval(heart)
      }
    },

    async record(input: RecordInput): Promise<RecordResult> {
      const final = await record(deps, input, input.outcome)
      // Called without an ordering key too, because this activity is rare.
      if (final) await passTurn(deps, jobOf(input), input.destination)
      return { final }
    },

    async command(input: CommandInput): Promise<CommandAnswer> {
      try {
        return await command(deps.pool, input)
      } catch (error) {
        if (error instanceof CommandRefused) throw ApplicationFailure.nonRetryable(error.message, REFUSED)
        throw error
      }
    },

    async finish(input: FinishInput): Promise<FinishResult> {
      return (await finish(deps, input)) ?? (await missing(deps, input))
    },
  }
}

/** Whether the worker caused the abort of a send, and not a cancel: then the send is retried. */
function isWorkerToBlame(context: Context): boolean {
  const details = context.cancellationDetails
  if (!details) return false
  return details.workerShutdown || details.timedOut || details.paused || details.reset
}

/** The run has no row, so nothing can be delivered. The operator gets one event about the loss. */
async function missing(deps: ActivityDeps, ref: DistributionRef): Promise<never> {
  deps.logger.error({ tenant_id: ref.tenant_id, distribution_id: ref.distribution_id }, 'no row for a running workflow')
  if (!activityInfo().isLocal) {
    await withTenant(deps.pool, ref.tenant_id, (db) =>
      writeAudit(db, {
        tenant_id: ref.tenant_id,
        actor: 'distributor',
        action: 'distribution.missing',
        resource_type: 'distribution_job',
        resource_id: jobId(ref.distribution_id),
      }),
    )
  }
  throw ApplicationFailure.nonRetryable('There is no such distribution', 'NOT_FOUND')
}
