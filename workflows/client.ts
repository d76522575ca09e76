// How others start, signal and look up runs in Temporal: the interfaces. `temporal-config/client/` implements them.
import type { ProbeResult } from '../db/destinations/health-checks.ts'
import type { WakeRef } from '../db/distributions/wake.ts'
import type { RecurringRow } from '../db/schedules/schedules.ts'
import type { Priority } from '../db/states.ts'
import type { BatchRef, DistributionRef, EventRef, HealthCheckSchedule, NotifyInput, ProbeInput } from './messages.ts'
import type { SearchAttribute } from './names.ts'

export type RecurringSchedule = Pick<
  RecurringRow,
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

/** Which schedule, and when it is to run. */
export type RecurringTimes = Pick<RecurringRow, 'id' | 'tenant_id' | 'cron' | 'interval_seconds' | 'time_zone'>

/** As Temporal has it. */
export interface RecurringState {
  paused: boolean
  /** None while it is paused. */
  next_runs: Date[]
}

/** What a person filters by in the Temporal UI, and what orders the queue. */
export interface About {
  data_type: string
  priority: Priority
}

export type RunState =
  | { state: 'running' }
  | { state: 'terminated' | 'closed'; closed_at: Date }
  /** Temporal does not know it (any more). */
  | { state: 'unknown' }

export interface Runs {
  /** Starts the run of a new distribution; one that exists or existed already is left alone. */
  start(ref: DistributionRef, about: About): Promise<void>
  /** Starts a run although an earlier one has closed; one that is running is left alone. */
  startAgain(ref: DistributionRef, about: About): Promise<void>
  /** Has the run read the cancel in its row, and starts a run when there is none. */
  signalCancel(ref: DistributionRef, about: About): Promise<void>
  /** Has the run read the retry in its rows, and starts a run when there is none. */
  signalRetry(ref: DistributionRef, about: About): Promise<void>
  /** Has a running one look at its rows; where none runs there is nothing to look. */
  signalLook(ref: DistributionRef): Promise<void>
  /** Tells a running one that it may be its turn at these destinations; where none runs there is nothing to tell. */
  signalTurn(ref: DistributionRef, destinations: string[]): Promise<void>
  /** Has those that wait for a destination go on, page by page. */
  wake(ref: WakeRef): Promise<void>
  describe(ref: DistributionRef): Promise<RunState>
  /** Starts the sender of a callback; one that exists already is left alone. */
  notify(input: NotifyInput): Promise<void>
  /** Starts the run of a batch; one that is running looks at its rows. */
  startBatch(ref: BatchRef): Promise<void>
  /** Brings the schedule of a recurring distribution in line with its row; answers why Temporal does not take it, or null. */
  setRecurring(row: RecurringSchedule, resume?: boolean): Promise<string | null>
  describeRecurring(row: RecurringTimes): Promise<RecurringState>
  probe(input: ProbeInput): Promise<ProbeResult>
  /** Starts the sender of an event; one that exists already is left alone. */
  announce(ref: EventRef): Promise<void>
  /** Has a destination tried at intervals from now on, or no longer. */
  healthCheck(check: HealthCheckSchedule): Promise<void>
}

export interface TemporalHealth {
  temporal: boolean
  missing_search_attributes: SearchAttribute[]
  worker_polling: boolean
}

export interface Dispatcher {
  /** `deferred`: Temporal did not take it in time; the sweep will find the row. Never throws. */
  start(ref: DistributionRef, about: About): Promise<'started' | 'deferred'>
  /** Signals the run to read the cancel in its row, and starts one when there is none. Never throws. */
  cancel(ref: DistributionRef, about: About): Promise<'started' | 'deferred'>
  /** Has the run look at its rows, if there is one. Never throws. */
  look(ref: DistributionRef): Promise<'signalled' | 'deferred'>
  /** Signals the run to look at its row, and starts one when there is none. Never throws. */
  retry(ref: DistributionRef, about: About): Promise<'started' | 'deferred'>
  /** Tells a run that it may be its turn under its ordering key at these destinations. Never throws. */
  turn(ref: DistributionRef, destinations: string[]): Promise<'started' | 'deferred'>
  /** Has those that wait for a destination go on. Never throws. */
  wake(ref: WakeRef): Promise<'started' | 'deferred'>
  /** Starts the run of a batch. Never throws. */
  startBatch(ref: BatchRef): Promise<'started' | 'deferred'>
  /** Has a destination tried at intervals, or no longer; what does not come through is put right by the workers. */
  healthCheck(check: HealthCheckSchedule): void
  /** Has Temporal follow the row of a recurring distribution; with `resume` also over a pause set there. Never throws. */
  setRecurring(row: RecurringSchedule, resume?: boolean): Promise<'started' | 'deferred' | { refused: string }>
  /** A recurring distribution as Temporal has it; null while it does not answer. Never throws. */
  describeRecurring(row: RecurringTimes): Promise<RecurringState | null>
  /** @throws DispatcherUnavailable when no worker answered within `timeoutMs` */
  probe(input: ProbeInput, timeoutMs: number): Promise<ProbeResult>
  /** Never throws; what can not be asked in time counts as not healthy. */
  health(): Promise<TemporalHealth>
}

/** No worker answered in time. */
export class DispatcherUnavailable extends Error {}
