// The interfaces to start, signal and find runs in Temporal. `temporal-config/client/` implements them.
import type { ProbeResult } from '../db/destinations/health-checks.ts'
import type { ResumeRef } from '../db/distributions/resume.ts'
import type { ScheduleRow } from '../db/schedules/schedules.ts'
import type {
  About,
  BatchRef,
  DistributionRef,
  HealthCheckSchedule,
  ProbeInput,
  ScheduleRef,
  WebhookRef,
} from './messages.ts'
import type { SearchAttribute } from './names.ts'

export type ScheduleSpec = Pick<
  ScheduleRow,
  | 'id'
  | 'tenant_id'
  | 'name'
  | 'cron'
  | 'interval_seconds'
  | 'time_zone'
  | 'overlap'
  | 'catchup_seconds'
  | 'accounted_at'
  | 'paused'
  | 'deleted'
>

/** The id and the times of a schedule. */
export type ScheduleTimes = Pick<ScheduleRow, 'id' | 'tenant_id' | 'cron' | 'interval_seconds' | 'time_zone'>

/** The state of a schedule in Temporal. */
export interface ScheduleState {
  paused: boolean
  /** Empty while the schedule is paused. */
  next_runs: Date[]
}

export type RunState =
  | { state: 'running' }
  | { state: 'terminated' | 'closed'; closed_at: Date }
  /** Temporal does not have the run, or no longer has it. */
  | { state: 'unknown' }

export interface Runs {
  /** The search attributes that the namespace has. */
  searchAttributes(): ReadonlySet<SearchAttribute>
  /** Starts the run of a new distribution; does nothing if it has or had a run. */
  start(ref: DistributionRef, about: About): Promise<void>
  /** Starts a run even if an earlier one has closed; does nothing if one is running. */
  startAgain(ref: DistributionRef, about: About): Promise<void>
  /** Makes the run read the cancel in its row; starts a run if there is none. */
  signalCancel(ref: DistributionRef, about: About): Promise<void>
  /** Makes the run read the retry in its rows; starts a run if there is none. */
  signalRetry(ref: DistributionRef, about: About): Promise<void>
  /** Makes the run reread its rows; does nothing if none is running. */
  signalReread(ref: DistributionRef): Promise<void>
  /** Signals the run that its turn at these destinations may have come; does nothing if none is running. */
  signalTurn(ref: DistributionRef, destinations: string[]): Promise<void>
  /** Resumes the deliveries that wait for a destination, page by page. */
  resume(ref: ResumeRef): Promise<void>
  describe(ref: DistributionRef): Promise<RunState>
  /** The distributions whose runs were terminated in the last `seconds`, newest first; at most `limit`. */
  terminated(seconds: number, limit: number): Promise<DistributionRef[]>
  /** Starts the run of a webhook. If one is running, it continues; with `again` it is terminated and replaced. */
  startWebhook(ref: WebhookRef, again?: 'again'): Promise<void>
  /** Starts the run of a batch; a run in progress rereads its rows. */
  startBatch(ref: BatchRef): Promise<void>
  /** Updates Temporal's schedule from its row; `refused` is the reason if Temporal rejects it. */
  setSchedule(row: ScheduleSpec, resume?: boolean): Promise<{ refused: string | null }>
  describeSchedule(row: ScheduleTimes): Promise<ScheduleState>
  probe(input: ProbeInput): Promise<ProbeResult>
  /** Starts, changes or ends the health checks of a destination. */
  healthCheck(check: HealthCheckSchedule): Promise<void>
}

export interface TemporalHealth {
  temporal: boolean
  missing_search_attributes: SearchAttribute[]
  worker_polling: boolean
}

/** The subject of a call; for the log. */
export type Addressee =
  | DistributionRef
  | BatchRef
  | ScheduleRef
  | ResumeRef
  | HealthCheckSchedule
  | ProbeInput
  | WebhookRef

/** The API's way to the runs. These calls do not throw, and do not delay a response for long. */
export interface Dispatcher {
  /**
   * Makes the call for a change that is already in a row. If it takes too long, it continues after the response was sent; if it
   * fails, the sweep repeats it. True if it was done in time.
   */
  tell(what: string, about: Addressee, call: (runs: Runs) => Promise<unknown>): Promise<boolean>
  /** The result of `call`, or null if there is none within `withinMs` milliseconds. */
  ask<T>(what: string, about: Addressee, call: (runs: Runs) => Promise<T>, withinMs?: number): Promise<T | null>
  /** Unhealthy also if there is no response in time. */
  health(): Promise<TemporalHealth>
}
