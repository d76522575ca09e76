// What the API, the workflows and the activities send each other: identifiers, never payloads or secrets.
import type { AttemptOutcome } from '../db/distributions/attempts.ts'
import type { EndCause } from '../db/distributions/end.ts'
import type { JobStatus, Priority, Protocol } from '../db/states.ts'

/** The argument of `distribute`; also identifies the run to signal. `distribution_id` is `dist_<uuid>`. */
export interface DistributionRef {
  tenant_id: string
  distribution_id: string
}

/** Fields to filter by in the Temporal UI, and the fields that order the queue. */
export interface About {
  data_type: string
  priority: Priority
}

/** Signals and updates of a distribution, for everybody. */
export const COMMANDS = ['cancel', 'retry'] as const
export type CommandName = (typeof COMMANDS)[number]

/** The argument of a signal that the API sends: its command is in the rows already, and the run only reads them. */
export interface InRows {
  in_rows: true
}

/** The argument of `cancel`. */
export interface CancelArgument {
  reason?: string
}

/** The argument of `retry`; the fields mean the same as in the API's request. */
export interface RetryArgument {
  destinations?: string[]
  force?: boolean
  timeout_seconds?: number
}

export interface CommandInput extends DistributionRef {
  command: CommandName
  /** The argument as it was sent; the activity checks it. */
  request: unknown
  /** The round that the run knew, so that a repeated call does not retry twice. */
  round: number
}

/** The result of an update. */
export interface CommandAnswer {
  accepted: true
  /** Of a retry. */
  round?: number
  destinations?: string[]
}

/** The failure type of a command that cannot be applied. */
export const REFUSED = 'REFUSED'

/** The result of the query `status`: what the run knows, without the database. */
export interface RunStatus {
  /** Null before the first plan. */
  round: number | null
  waits_for: 'plan' | 'deliver_at' | 'deliveries' | 'end'
  /** When the wait ends at the latest: `deliver_at` or `expires_at`, ISO 8601. */
  until: string | null
  /** `held`: earlier distributions of its ordering key come first. `delivering`: see the pending activities. */
  deliveries: { name: string; protocol: Protocol; round: number; state: 'delivering' | 'held' }[]
  /** The last command that was sent to this run. */
  last_command: { command: CommandName; accepted: boolean; reason: string | null } | null
}

/** Internal: another change in the distribution's rows. */
export const REREAD_SIGNAL = 'internal_reread'
/**
 * Internal: earlier distributions of the same ordering key have ended: held deliveries may try again. The signal names their
 * destinations, because a thousand may be held; without names it means all of them.
 */
export const TURN_SIGNAL = 'internal_turn'

export interface PlanInput extends DistributionRef {
  /** The run was started by hand, without search attributes; the plan brings them. */
  unlabelled?: true
}

/** The result of `plan`. */
export interface Plan {
  /** The distribution has ended: there is nothing to do. */
  final: boolean
  /** The number of manual retries, plus 1; `finish` compares it. */
  round: number
  /** From now until `deliver_at`, in milliseconds on the database's clock; 0 when it may start. */
  delay_ms: number
  /** From now until `expires_at`, in milliseconds on the database's clock. */
  expires_in_ms: number
  cancel_requested: boolean
  /** The deliveries that are not final, without failover standbys. */
  deliveries: PlannedDelivery[]
  /** Deliveries that others have ended (their destination was deleted), although they may still run here. */
  ended?: string[]
  /** The priority that a rule has set; absent: that of the run. */
  priority?: Priority
  /** After this time without a heartbeat, the worker of a delivery counts as lost. */
  lost_after_ms: number
  /** Of a run that was started without them. */
  attributes?: [name: string, value: string][]
}

/** The plan as read from the rows. */
export interface RowPlan extends Omit<Plan, 'lost_after_ms' | 'attributes'> {
  about?: About
}

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
  /** As in the plan. After a later resume of the row, this call has nothing to do. */
  resumes?: number | undefined
}

export type DeliverResult =
  /**
   * Everything is in the rows. `held`: earlier ones of its ordering key come first; call again at the next `TURN_SIGNAL`,
   * and with `recheck` also after a delay. `resumed`: the row was resumed meanwhile; read the plan again.
   */
  | { recorded: true; held?: true; recheck?: true; resumed?: true }
  /** The attempt has ended, but its outcome could not be written: call `record`. */
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
  /** The distribution is not final: plan again. */
  again: boolean
  status: JobStatus
  /** The callback of this round, which still has to be sent. */
  webhook_id: string | null
}

/** The argument of `webhook`. */
export interface WebhookRef {
  tenant_id: string
  /** `dist_<uuid>.<round>`, `batch_<uuid>` or `event_<uuid>`. */
  webhook_id: string
}

export interface ProbeInput {
  tenant_id: string
  destination_id: string
  /** A scheduled check: no request waits for the result. */
  scheduled?: true
}

/** The interval of a destination's health checks; null: no checks. */
export interface HealthCheckSchedule {
  tenant_id: string
  destination_id: string
  interval_seconds: number | null
}

export interface ResumeStep {
  /** There may be more to resume. */
  more: boolean
  /** How many may be in progress at once; passed to the next step. */
  window?: number
}

/** The argument of `batch`; `batch_id` is the row's uuid. */
export interface BatchRef {
  tenant_id: string
  batch_id: string
  /** Its run was cancelled in Temporal. */
  cancelled?: boolean
}

/** The result of one step of a batch; `wait_ms`: the next step follows after so many milliseconds. */
export type BatchStep = { done: false; wait_ms: number } | { done: true }

/** The argument of `scheduled`; `schedule_id` is the row's uuid. */
export interface ScheduleRef {
  tenant_id: string
  schedule_id: string
}

export interface ScheduledInput extends ScheduleRef {
  /** The start of its run; absent: now. */
  begun?: string
  /** The nominal time of the run, ISO 8601: it identifies the distribution. */
  at: string
}

export interface Scheduled {
  /** Null: the schedule was paused or deleted meanwhile. */
  distribution_id: string | null
  /** The next time of the schedule must wait until this distribution is final. */
  wait: boolean
}

export interface SweepInput {
  /** Every open job, not only those that are due, for example after the data of Temporal was lost. */
  all: boolean
}
