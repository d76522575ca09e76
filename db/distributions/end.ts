// Ends a distribution; nothing else does. It closes the open deliveries, derives the final state from all deliveries
// and queues the callback, in one transaction that locks the job's row first. A repeated call changes nothing, and of
// two calls at the same time only the first changes something.
import type { Db } from '../pool.ts'
import { type DeliveryCode, type FinalJobStatus, isFinal } from '../states.ts'
import { writeAudit } from '../tenants/audit.ts'
import { countEvent } from '../webhooks/event-windows.ts'
import { webhookId } from '../webhooks/webhook-id.ts'
import { queueCallback } from '../webhooks/webhooks.ts'
import {
  closeOpenDeliveries,
  type EndedAttempt,
  failsWhenEmpty,
  type JobToEnd,
  lockJobToEnd,
  markCancelled,
  summariseDeliveries,
  unblockServedGroups,
} from './end-statements.ts'
import { moveFailoverOn } from './failover.ts'
import { deriveFinalState, type EndedBy, type FinalState } from './final-state.ts'
import { publicId } from './job-id.ts'

/** Why a run asks for the end. */
export type EndCause = 'done' | 'cancelled' | 'expired'

export type EndRequest = {
  /**
   * Ends the distribution only in this round: the cause does not concern a later retry. Absent: whatever the round is.
   */
  round?: number
} & (
  | { cause: 'done' | 'expired' }
  /** `reason` is stored unless a cancel was requested with another one. */
  | { cause: 'cancelled'; reason?: string }
  /** It can never be delivered: its row is invalid, or its run fails again and again. The operator gets an event. */
  | { cause: 'given_up'; code: DeliveryCode; reason: string; batch_id?: string }
)

export type Ended =
  /** The tenant has no such distribution. */
  | { outcome: 'missing' }
  /** It stays open: another round has begun, or the cause does not end the deliveries that are open. */
  | { outcome: 'open' }
  | {
      outcome: 'final'
      status: FinalJobStatus
      round: number
      /** The callback of this round, which still has to be sent. */
      webhook_id: string | null
      /** Other distributions with the same ordering key may continue now. */
      unblocks: boolean
      /** Data for metrics and the log. Null on a repeated call: the distribution had ended before. */
      ended: {
        data_type: string
        catalogued: boolean
        seconds: number
        code: string | null
        attempts: EndedAttempt[]
      } | null
    }

/**
 * Ends job `id`. A cancel that was requested before takes precedence over `done` and `expired`. `done` ends only a job
 * that has no open deliveries or has expired. `expired`, and `given_up` with code `EXPIRED`, end only a job that has
 * expired by the database's clock.
 */
export async function endDistribution(db: Db, id: string, request: EndRequest): Promise<Ended> {
  let job = await lockJobToEnd(db, id)
  if (!job) return { outcome: 'missing' }
  if (request.round !== undefined && request.round !== job.round) return { outcome: 'open' }
  if (isFinal(job.status)) return final(job, job.status as FinalJobStatus, job.callback_pending, null)
  if (request.cause === 'given_up') return await giveUp(db, job, request)
  if (job.standing_by) {
    // Standbys are started or skipped first: a standby that nobody needs must not count as open.
    await moveFailoverOn(db, id)
    job = (await lockJobToEnd(db, id))!
  }
  const endedBy = endedByOf(job, request.cause)
  if (endedBy === null) return { outcome: 'open' }
  let attempts: EndedAttempt[] = []
  if (endedBy === 'cancel') {
    if (!job.cancel_requested) await markCancelled(db, id, reasonOf(request))
    attempts = await closeOpenDeliveries(db, id, 'cancelled', 'CANCELLED', 'The distribution was cancelled')
  } else if (endedBy === 'expiry') {
    const message = 'The distribution expired before this destination was served'
    attempts = await closeOpenDeliveries(db, id, 'failed', 'EXPIRED', message)
  }
  if (job.grouped) await unblockServedGroups(db, id)
  const deliveries = await summariseDeliveries(db, id)
  const state = deriveFinalState(deliveries, endedBy, deliveries.length === 0 && (await failsWhenEmpty(db, job)))
  return await write(db, job, state, endedBy, attempts)
}

function endedByOf(job: JobToEnd, cause: EndCause): EndedBy | null {
  if (job.cancel_requested || cause === 'cancelled') return 'cancel'
  if (job.planned && job.open_deliveries === 0) return 'deliveries'
  return job.expired ? 'expiry' : null
}

function reasonOf(request: EndRequest): string {
  return (request.cause === 'cancelled' && request.reason) || 'cancelled in Temporal'
}

async function giveUp(db: Db, job: JobToEnd, request: Extract<EndRequest, { cause: 'given_up' }>): Promise<Ended> {
  const { code, reason, batch_id } = request
  if (code === 'EXPIRED' && !job.expired) return { outcome: 'open' }
  const { id, tenant_id, round } = job
  const attempts = await closeOpenDeliveries(db, id, 'failed', code, reason)
  const { retry_count } = deriveFinalState(await summariseDeliveries(db, id), 'deliveries', true)
  const state: FinalState = { status: 'failed', error_code: code, error_message: reason, retry_count, warnings: [] }
  await writeAudit(db, {
    ...{ tenant_id, actor: 'distributor', action: 'distribution.abandoned' },
    ...{ resource_type: 'distribution_job', resource_id: id, details: { round, code, reason } },
  })
  const details = { ...(batch_id && { batch_id }), distribution_id: publicId(id), reason }
  await countEvent(db, tenant_id, 'distributions.failed', code, details)
  return await write(db, job, state, 'deliveries', attempts)
}

async function write(
  db: Db,
  job: JobToEnd,
  state: FinalState,
  endedBy: EndedBy,
  attempts: EndedAttempt[],
): Promise<Ended> {
  const { id, callback_url } = job
  await db.query('call update_distribution_status($1, $2, $3, $4, $5)', [
    publicId(id),
    state.status,
    state.error_message,
    state.error_code,
    'distributor',
  ])
  await db.query(`update distribution_jobs set retry_count = $2, warnings = warnings || $3::jsonb where id = $1`, [
    id,
    state.retry_count,
    JSON.stringify(state.warnings),
  ])
  if (callback_url !== null) {
    const event_type = `distribution.${endedBy === 'expiry' && state.status === 'failed' ? 'expired' : state.status}`
    await queueCallback(db, id, event_type)
  }
  return final(job, state.status, callback_url !== null, { code: state.error_code, attempts })
}

function final(
  job: JobToEnd,
  status: FinalJobStatus,
  callbackDue: boolean,
  endedNow: { code: string | null; attempts: EndedAttempt[] } | null,
): Ended {
  const { id, round, ordered, grouped, data_type, catalogued, round_seconds } = job
  // A successful delivery has already released the next one. A delivery of a failover group may end without doing so.
  const unblocks = ordered && (status !== 'completed' || grouped)
  const webhook_id = callbackDue ? webhookId({ kind: 'distribution', subject_id: id, round }) : null
  const ended = endedNow && { data_type, catalogued, seconds: round_seconds, ...endedNow }
  return { outcome: 'final', status, round, webhook_id, unblocks, ended }
}
