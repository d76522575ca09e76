// The numbers that Prometheus reads. Labels are bounded: no ids and no URLs; names of destinations and data types that
// nobody registered become one word.
import { readFileSync } from 'node:fs'
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'
import { MAX_TENANT_LABELS, type Metrics, OTHER_TENANT } from '../../activities/metrics.ts'

const SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600]

const { version: VERSION } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
  version: string
}
const API_SECONDS = [0.005, 0.025, 0.1, 0.5, 2.5, 10]

/** Creates a new registry, so that API and worker in one process share one, and tests do not. */
export function createMetrics(): Metrics {
  const registry = new Registry()
  const registers = [registry]
  collectDefaultMetrics({ register: registry })
  new Gauge({
    name: 'zenia_distribution_build_info',
    help: 'Always 1; the version is a label',
    labelNames: ['version', 'node'],
    registers,
  }).set({ version: VERSION, node: process.version }, 1)
  return {
    registry,
    tenant: tenantLabels(),
    accepted: new Counter({
      name: 'zenia_distribution_accepted_total',
      help: 'Distributions that were accepted',
      labelNames: ['tenant_id', 'data_type'],
      registers,
    }),
    requests: new Counter({
      name: 'zenia_distribution_requests_total',
      help: 'Distributions that ended: completed, failed or cancelled',
      labelNames: ['tenant_id', 'data_type', 'status'],
      registers,
    }),
    attempts: new Counter({
      name: 'zenia_distribution_attempts_total',
      help: 'Attempts by tenant, destination, protocol, outcome and code',
      labelNames: ['tenant_id', 'destination', 'protocol', 'status', 'code'],
      registers,
    }),
    latency: new Histogram({
      name: 'zenia_distribution_latency_seconds',
      help: 'From acceptance, deliver_at or retry to the final state',
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
    webhooks: new Counter({
      name: 'zenia_distribution_webhooks_total',
      help: 'Attempts of callbacks and operator events by outcome: success, retry or failed',
      labelNames: ['kind', 'status'],
      registers,
    }),
    apiSeconds: new Histogram({
      name: 'zenia_distribution_api_request_seconds',
      help: 'Answers of the API by method, route and status',
      labelNames: ['method', 'route', 'status'],
      buckets: API_SECONDS,
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

/** Each tenant is a series in every metric that names it, so that their number is bounded. */
function tenantLabels(): Metrics['tenant'] {
  const known = new Set<string>()
  return (id) => {
    if (known.has(id)) return id
    if (known.size >= MAX_TENANT_LABELS) return OTHER_TENANT
    known.add(id)
    return id
  }
}
