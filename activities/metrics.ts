// The metrics that are counted during the work. Labels are bounded: no ids and no URLs, and all unregistered destinations
// and data types share one label.
import type { Counter, Gauge, Histogram, Registry } from 'prom-client'
import type { Ended } from '../db/distributions/end.ts'

/** Label of inline destinations. */
export const AD_HOC = 'ad-hoc'
/** Label of data types that are not in the catalogue. */
export const OTHER = 'other'

export interface Metrics {
  registry: Registry
  /** `status`: `accepted` at submission, then the final one. */
  requests: Counter<'tenant_id' | 'data_type' | 'status'>
  attempts: Counter<'destination' | 'protocol' | 'status'>
  /** Submission to final state. */
  latency: Histogram
  attemptSeconds: Histogram<'protocol'>
  /** Deliveries that were deferred without an attempt. */
  deferrals: Counter<'reason'>
  /** Circuits that opened or closed, and destinations that were disabled by their failures. */
  circuits: Counter<'change'>
  /** Requests that the API refused. */
  apiRefusals: Counter<'tenant_id' | 'reason'>
  activeWorkers: Gauge<'worker_type'>
  /** Steps of the sweep and of the maintenance that failed. */
  failedSteps: Counter<'job' | 'step'>
}

/** Counts the end of an attempt; `registered`: the destination is not inline. */
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
