// The activities of the background queue, which must never take a delivery's slot.
import { ApplicationFailure, Context } from '@temporalio/activity'
import { ApplicationFailureCategory } from '@temporalio/common'
import type { ProbeResult } from '../db/destinations/health-checks.ts'
import type { ResumeRef } from '../db/distributions/resume.ts'
import type {
  BatchRef,
  BatchStep,
  DistributionRef,
  ProbeInput,
  ResumeStep,
  Scheduled,
  ScheduledInput,
  SweepInput,
  WebhookRef,
} from '../workflows/messages.ts'
import { batchStep } from './batches/index.ts'
import type { ActivityDeps } from './deps.ts'
import { resumeStep } from './distribution/resume.ts'
import { endPollDelay, hasEnded, submitScheduled } from './schedules/submit.ts'
import { maintain } from './upkeep/maintain.ts'
import { probe } from './upkeep/probe.ts'
import { sweep } from './upkeep/sweep.ts'
import { sendWebhook } from './webhooks/send.ts'

export type BackgroundActivities = ReturnType<typeof createBackgroundActivities>

export function createBackgroundActivities(deps: ActivityDeps) {
  return {
    /** Fails if the webhook must be sent again, so that Temporal calls it again after the given delay. */
    async sendWebhook(ref: WebhookRef): Promise<void> {
      const sent = await sendWebhook(deps, ref, Context.current().cancellationSignal)
      if (sent.done) return
      const { message, delay_ms } = sent
      throw ApplicationFailure.create({ message, type: 'WEBHOOK_FAILED', nextRetryDelay: delay_ms })
    },

    async submitScheduled(input: ScheduledInput): Promise<Scheduled> {
      return await submitScheduled(deps, input)
    },

    /** Ends when the distribution is final. Until then Temporal retries it, because retries add nothing to the history. */
    async untilFinal(ref: DistributionRef): Promise<void> {
      if (await hasEnded(deps, ref)) return
      throw ApplicationFailure.create({
        message: `${ref.distribution_id} is not final yet`,
        type: 'NOT_FINAL',
        nextRetryDelay: endPollDelay(Context.current().info.attempt),
        category: ApplicationFailureCategory.BENIGN,
      })
    },

    async batchStep(ref: BatchRef): Promise<BatchStep> {
      return await batchStep(deps, ref, beating('Another worker repeats the step'), Context.current().info.attempt)
    },

    async probe(input: ProbeInput): Promise<ProbeResult> {
      return await probe(deps, input, Context.current().cancellationSignal)
    },

    async resumeStep(ref: ResumeRef, step: number, window?: number): Promise<ResumeStep> {
      return await resumeStep(deps, ref, step, window)
    },

    async sweep(input: SweepInput): Promise<void> {
      await sweep(deps, input, beating('Another worker repeats the pass'))
    },

    async maintain(): Promise<void> {
      await maintain(deps, beating('Another worker repeats the maintenance'))
    },
  }
}

/** Call it between units of long work: it sends a heartbeat, and throws when the worker stops. */
function beating(next: string): () => void {
  const context = Context.current()
  return () => {
    context.heartbeat()
    if (context.cancellationDetails?.workerShutdown) {
      throw ApplicationFailure.retryable(`The worker stops. ${next}`, 'WORKER_LOST')
    }
    context.cancellationSignal.throwIfAborted()
  }
}
