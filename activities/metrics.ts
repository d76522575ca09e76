// The numbers that are counted while work is done. Labels are bounded: no ids and no URLs; names of destinations and data
// types that nobody registered become one word.
import type { Counter, Gauge, Histogram, Registry } from 'prom-client'
import type { Ended } from '../db/distributions/end.ts'

/** Label of destinations that were given in a submission. */
export const AD_HOC = 'ad-hoc'
/** Label of data types that are in no catalogue. */
export const OTHER = 'other'

export interface Metrics {
  registry: Registry
  /** `status`: `accepted` at submission, then the final one. */
  requests: Counter<'tenant_id' | 'data_type' | 'status'>
  attempts: Counter<'destination' | 'protocol' | 'status'>
  /** Submission to final state. */
  latency: Histogram
  attemptSeconds: Histogram<'protocol'>
  /** Deliveries put off without an attempt. */
  deferrals: Counter<'reason'>
  /** Circuits that opened or closed, and destinations that were disabled by their failures. */
  circuits: Counter<'change'>
  /** Requests that the API refused. */
  apiRefusals: Counter<'tenant_id' | 'reason'>
  activeWorkers: Gauge<'worker_type'>
  /** Steps of the sweep and of the maintenance that failed. */
  failedSteps: Counter<'job' | 'step'>
}

/** Counts the end of an attempt; `registered`: its destination was not given in the submission. */
export function countAttempt(
  metrics: Pick<Metrics, 'attempts'>,
  attempt: { destination: string; registered: boolean; protocol: string; status: string },
): void {
  const { destination, registered, protocol, status } = attempt
  metrics.attempts.inc({ destination: registered ? destination : AD_HOC, protocol, status })
}

/** Counts the end of a distribution. A repeat counts nothing. */
export function countEnd(metrics: Pick<Metrics, 'requests' | 'latency'>, tenant_id: string, ended: Ended): void {
  if (ended.outcome !== 'final' || !ended.ended) return
  const data_type = ended.ended.catalogued ? ended.ended.data_type : OTHER
  metrics.requests.inc({ tenant_id, data_type, status: ended.status })
  metrics.latency.observe(ended.ended.seconds)
}
