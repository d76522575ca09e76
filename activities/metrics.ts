// The metrics that are counted during the work. Labels are bounded: no ids and no URLs, and all unregistered destinations
// and data types share one label.
import type { Counter, Gauge, Histogram, Registry } from 'prom-client'
import type { Ended } from '../db/distributions/end.ts'

/** Label of inline destinations. */
export const AD_HOC = 'ad-hoc'
/** Label of data types that are not in the catalogue. */
export const OTHER = 'other'

/** Label of the tenants after the first `MAX_TENANT_LABELS`. */
export const OTHER_TENANT = 'other'
export const MAX_TENANT_LABELS = 1000

export interface Metrics {
  registry: Registry
  /** The label of a tenant: its id, or `OTHER_TENANT`. */
  tenant(id: string): string
  /** Distributions that were accepted. */
  accepted: Counter<'tenant_id' | 'data_type'>
  /** Distributions that ended; `status` is the final one. */
  requests: Counter<'tenant_id' | 'data_type' | 'status'>
  /** `code`: the reason of a failure, else empty. */
  attempts: Counter<'tenant_id' | 'destination' | 'protocol' | 'status' | 'code'>
  /** From the start of a round (acceptance, `deliver_at` or retry) to its final state. */
  latency: Histogram
  attemptSeconds: Histogram<'protocol'>
  /** Deliveries put off without an attempt. */
  deferrals: Counter<'reason'>
  /** Circuits that opened or closed, and destinations that were disabled by their failures. */
  circuits: Counter<'change'>
  /** Attempts of callbacks and operator events; `status`: `success`, `retry` or `failed`. */
  webhooks: Counter<'kind' | 'status'>
  /** Answers of the API. */
  apiSeconds: Histogram<'method' | 'route' | 'status'>
  /** Requests that the API refused. */
  apiRefusals: Counter<'tenant_id' | 'reason'>
  activeWorkers: Gauge<'worker_type'>
  /** Steps of the sweep and of the maintenance that failed. */
  failedSteps: Counter<'job' | 'step'>
}

/** Counts a distribution that was accepted. */
export function countAccepted(
  metrics: Pick<Metrics, 'accepted' | 'tenant'>,
  tenant_id: string,
  data_type: string,
): void {
  metrics.accepted.inc({ tenant_id: metrics.tenant(tenant_id), data_type })
}

/** Counts the end of an attempt; `registered`: its destination was not given in the submission. */
export function countAttempt(
  metrics: Pick<Metrics, 'attempts' | 'tenant'>,
  attempt: {
    tenant_id: string
    destination: string
    registered: boolean
    protocol: string
    status: string
    code: string | null
  },
): void {
  const { tenant_id, destination, registered, protocol, status, code } = attempt
  metrics.attempts.inc({
    tenant_id: metrics.tenant(tenant_id),
    destination: registered ? destination : AD_HOC,
    protocol,
    status,
    code: code ?? '',
  })
}

/** Counts the end of a distribution. A repeat counts nothing. */
export function countEnd(
  metrics: Pick<Metrics, 'requests' | 'latency' | 'tenant'>,
  tenant_id: string,
  ended: Ended,
): void {
  if (ended.outcome !== 'final' || !ended.ended) return
  const data_type = ended.ended.catalogued ? ended.ended.data_type : OTHER
  metrics.requests.inc({ tenant_id: metrics.tenant(tenant_id), data_type, status: ended.status })
  metrics.latency.observe(ended.ended.seconds)
}
