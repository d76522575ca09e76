// What crosses the border between the API, the workflows and the activities: identifiers, never payloads or secrets.
import type { AttemptOutcome } from '../db/distributions/attempts.ts'
import type { EndCause } from '../db/distributions/end.ts'
import type { JobStatus, Priority, Protocol } from '../db/states.ts'

/** The one argument of `distribute`, and the signals' addressee. `distribution_id` is `dist_<uuid>`. */
export interface DistributionRef {
  tenant_id: string
  distribution_id: string
}

/** Signals carry nothing: the row holds the order, the signal only says «look at the row». */
export const CANCEL_SIGNAL = 'cancel'
export const RETRY_SIGNAL = 'retry'
/** Something was done to its rows from outside. */
export const LOOK_SIGNAL = 'look'
/**
 * Those that came before it under its ordering key have ended: what is held may look again. Names the destinations, of which
 * a thousand may be held; without names it means all of them.
 */
export const TURN_SIGNAL = 'turn'

/** What `plan` answers. */
export interface Plan {
  /** The job is final already: nothing is to be done. */
  final: boolean
  /** Counts the manual retries; `finish` compares it. */
  round: number
  /** From now until `deliver_at`, in milliseconds on the database's clock; 0 when it may go at once. */
  delay_ms: number
  /** From now until `expires_at`, in milliseconds on the database's clock. */
  expires_in_ms: number
  cancel_requested: boolean
  /** The deliveries that are not final, without those that stand by for others. */
  deliveries: PlannedDelivery[]
  /** Ended from outside, although a run may still wait for their next attempt (their destination was deleted). */
  ended?: string[]
  /** The priority that a rule gave them; absent: the run's own. */
  priority?: Priority
  /** The same as Temporal's strict level. */
  priority_key?: number
}

export interface PlannedDelivery {
  name: string
  protocol: Protocol
  /** The round that the delivery was last opened in; a manual retry raises it. */
  round: number
  /** How often it was woken from a wait that it need not wait out; absent: never. */
  wakes?: number | undefined
  /** Others stand by for it: when it has ended, the plan is to be asked again. */
  backed?: true | undefined
}

export interface DeliverInput extends DistributionRef {
  destination: string
  /** As the plan had it; a call that began to wait before the row was woken has nothing to do. */
  wakes?: number | undefined
}

/**
 * `deliver` answers `recorded` (`held`: to be called again, see `TURN_SIGNAL`, and with `look` soon in any case; `overtaken`: its row was woken, and the plan
 * is to be asked again), or hands over the outcome that is still to be written.
 */
export type DeliverResult =
  | { recorded: true; held?: true; look?: true; overtaken?: true }
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
  /** The row has moved on: plan again. */
  again: boolean
  status: JobStatus
  /** A callback row waits for this round: start `notify`. */
  notify: boolean
}

export interface NotifyInput extends DistributionRef {
  round: number
}

export interface ProbeInput {
  tenant_id: string
  destination_id: string
  /** A check at intervals: nobody waits for the answer. */
  scheduled?: true
}

/** A destination whose connection is tried at intervals; null: no longer. */
export interface HealthCheckSchedule {
  tenant_id: string
  destination_id: string
  interval_seconds: number | null
}

/** An event for the tenant's event_url. */
export interface EventRef {
  tenant_id: string
  event_id: string
}

export interface WakeStep {
  /** There may be more of them. */
  more: boolean
  /** How many may be on their way at once; the next step goes on from it. */
  window?: number
}

/** The one argument of `batch`; `batch_id` is the row's uuid. */
export interface BatchRef {
  tenant_id: string
  batch_id: string
  /** Its run was cancelled in Temporal. */
  cancelled?: boolean
}

/** What one step of a batch came to. */
export type BatchStep =
  /** Go on after so many milliseconds. */
  | { done: false; wait_ms: number }
  /** All is final; `callback`: its owner waits to be told. */
  | { done: true; callback: boolean }

/** The one argument of `recur`; `schedule_id` is the row's uuid. */
export interface ScheduleRef {
  tenant_id: string
  schedule_id: string
}

export interface ScheduledInput extends ScheduleRef {
  /** When its run began; left out by earlier versions. */
  begun?: string
  /** The time that the schedule meant, ISO 8601: it names the distribution. */
  at: string
}

export interface Scheduled {
  /** Null: it was paused or deleted meanwhile. */
  distribution_id: string | null
  /** The next time has to know when this one is final. */
  wait: boolean
}

export interface SweepInput {
  /** Every open job, not only those that are due: Temporal's data may be new. */
  all: boolean
}
