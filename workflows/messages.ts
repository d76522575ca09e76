// What the API, the workflows and the activities send each other: identifiers, never payloads or secrets.
import type { AttemptOutcome } from '../db/distributions/attempts.ts'
import type { EndCause } from '../db/distributions/end.ts'
import type { JobStatus, Priority, Protocol } from '../db/states.ts'

/** The one argument of `distribute`, and the signals' addressee. `distribution_id` is `dist_<uuid>`. */
export interface DistributionRef {
  tenant_id: string
  distribution_id: string
}

/** Signals carry no data: the command stands in the row, and the signal has the run read it. */
export const CANCEL_SIGNAL = 'cancel'
export const RETRY_SIGNAL = 'retry'
/** Something else has changed in the distribution's rows. */
export const REREAD_SIGNAL = 'reread'
/**
 * Those ahead under its ordering key have ended: held deliveries may try again. Names their destinations, because a
 * thousand may be held; without names it means all of them.
 */
export const TURN_SIGNAL = 'turn'

/** The result of `plan`. */
export interface Plan {
  /** The distribution has ended: there is nothing to do. */
  final: boolean
  /** Counts the manual retries; `finish` compares it. */
  round: number
  /** From now until `deliver_at`, in milliseconds on the database's clock; 0 when it may start. */
  delay_ms: number
  /** From now until `expires_at`, in milliseconds on the database's clock. */
  expires_in_ms: number
  cancel_requested: boolean
  /** The deliveries that are not final, without failover standbys. */
  deliveries: PlannedDelivery[]
  /** Deliveries that ended from outside (their destination was deleted), although the run may still carry them out. */
  ended?: string[]
  /** The priority that a rule gave them; absent: the run's own. */
  priority?: Priority
  /** A worker that delivers counts as lost after so long without a heartbeat. */
  lost_after_ms: number
}

/** An open delivery, as its rows say. */
export type RowPlan = Omit<Plan, 'lost_after_ms'>

export interface PlannedDelivery {
  name: string
  protocol: Protocol
  /** The round in which the delivery was opened last; a manual retry raises it. */
  round: number
  /** How often the delivery was resumed before its delay was over; absent: never. */
  resumes?: number | undefined
  /** It has failover standbys: when it has ended, the plan must be read again. */
  has_standby?: true | undefined
}

export interface DeliverInput extends DistributionRef {
  destination: string
  /** As in the plan. A call that began before the row was resumed has nothing to do. */
  resumes?: number | undefined
}

export type DeliverResult =
  /**
   * Everything is in the rows. `held`: others of its ordering key come first; call again at the next `TURN_SIGNAL`,
   * with `recheck` also soon without one. `resumed`: the row was resumed meanwhile; read the plan again.
   */
  | { recorded: true; held?: true; recheck?: true; resumed?: true }
  /** The attempt is over, but its outcome could not be written: call `record`. */
  | { recorded: false; outcome: AttemptOutcome }

export interface RecordInput extends DeliverInput {
  outcome: AttemptOutcome
}

export interface RecordResult {
  /** The delivery is final; otherwise `deliver` is called again. */
  final: boolean
}

export interface FinishInput extends DistributionRef {
  round: number
  cause: EndCause
}

export interface FinishResult {
  /** It goes on: plan again. */
  again: boolean
  status: JobStatus
  /** The callback of this round, which still has to be sent. */
  webhook_id: string | null
}

/** The one argument of `webhook`. */
export interface WebhookRef {
  tenant_id: string
  /** `dist_<uuid>.<round>`, `batch_<uuid>` or `event_<uuid>`. */
  webhook_id: string
}

export interface ProbeInput {
  tenant_id: string
  destination_id: string
  /** A scheduled check: no request waits for the answer. */
  scheduled?: true
}

/** A destination that is checked at intervals; null: no longer. */
export interface HealthCheckSchedule {
  tenant_id: string
  destination_id: string
  interval_seconds: number | null
}

export interface ResumeStep {
  /** There may be more to resume. */
  more: boolean
  /** How many may be under way at once; the next step starts from it. */
  window?: number
}

/** The one argument of `batch`; `batch_id` is the row's uuid. */
export interface BatchRef {
  tenant_id: string
  batch_id: string
  /** Its run was cancelled in Temporal. */
  cancelled?: boolean
}

/** What one step of a batch came to; `wait_ms`: the next step follows after so many milliseconds. */
export type BatchStep = { done: false; wait_ms: number } | { done: true }

/** The one argument of `recur`; `schedule_id` is the row's uuid. */
export interface ScheduleRef {
  tenant_id: string
  schedule_id: string
}

export interface ScheduledInput extends ScheduleRef {
  /** When its run began; absent: now. */
  begun?: string
  /** The time that the schedule means, ISO 8601: it identifies the distribution. */
  at: string
}

export interface Scheduled {
  /** Null: it was paused or deleted meanwhile. */
  distribution_id: string | null
  /** The next time of the schedule must wait until this distribution is final. */
  wait: boolean
}

export interface SweepInput {
  /** Every open job, not only those that are due: Temporal's data may be new. */
  all: boolean
}
