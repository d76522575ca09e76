// The numbers that Prometheus reads. Labels are bounded: no ids and no URLs; names of destinations and data types that
// nobody registered become one word.
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'
import type { Metrics } from '../../activities/metrics.ts'

const SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600]

/** Creates a new registry, so that API and worker in one process share one, and tests do not. */
export function createMetrics(): Metrics {
  const registry = new Registry()
  const registers = [registry]
  collectDefaultMetrics({ register: registry })
  return {
    registry,
    requests: new Counter({
      name: 'zenia_distribution_requests_total',
      help: 'Distributions by state: accepted, then completed, failed or cancelled',
      labelNames: ['tenant_id', 'data_type', 'status'],
      registers,
    }),
    attempts: new Counter({
      name: 'zenia_distribution_attempts_total',
      help: 'Attempts by destination, protocol and outcome',
      labelNames: ['destination', 'protocol', 'status'],
      registers,
    }),
    latency: new Histogram({
      name: 'zenia_distribution_latency_seconds',
      help: 'Submission to final state',
      buckets: SECONDS,
      registers,
    }),
    attemptSeconds: new Histogram({
      name: 'zenia_distribution_attempt_seconds',
      help: 'One attempt, from opening to close',
      labelNames: ['protocol'],
      buckets: SECONDS,
      registers,
    }),
    deferrals: new Counter({
      name: 'zenia_distribution_deferrals_total',
      help: 'Deliveries put off without an attempt, by reason: circuit, share, concurrency, rate_limit, disabled',
      labelNames: ['reason'],
      registers,
    }),
    circuits: new Counter({
      name: 'zenia_distribution_circuit_changes_total',
      help: 'Circuits that opened or closed, and destinations that were disabled for their failures',
      labelNames: ['change'],
      registers,
    }),
    apiRefusals: new Counter({
      name: 'zenia_distribution_api_refusals_total',
      help: 'Requests that the API refused with 401, 403, 408, 413, 429 or 503, by reason',
      labelNames: ['tenant_id', 'reason'],
      registers,
    }),
    activeWorkers: new Gauge({
      name: 'zenia_distribution_active_workers',
      help: 'Workers of this process that poll',
      labelNames: ['worker_type'],
      registers,
    }),
    failedSteps: new Counter({
      name: 'zenia_distribution_failed_steps_total',
      help: 'Steps of the sweep and of the maintenance that failed',
      labelNames: ['job', 'step'],
      registers,
    }),
  }
}
