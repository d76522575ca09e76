// The delivering half of the product in this process, on the run's real servers: a database of its own, workers on a
// task queue of their own. What is submitted goes through the same statements as the API's.
import { randomBytes } from 'node:crypto'
import type { TestWorkflowEnvironment } from '@temporalio/testing'
import pino from 'pino'
import { BACKOFF, type Backoff } from '../../activities/delivery/backoff.ts'
import { createPayloads } from '../../activities/delivery/payloads.ts'
import { BACKGROUND, createWorkerSlots } from '../../activities/delivery/worker-slots.ts'
import type { ActivityDeps } from '../../activities/deps.ts'
import { createEgress } from '../../activities/destinations/network/egress.ts'
import type { Metrics } from '../../activities/metrics.ts'
import { createShaper, type ShaperOptions } from '../../activities/shaping/shaper.ts'
import { TIMING, type Timing } from '../../activities/timing.ts'
import { createUsage } from '../../activities/usage.ts'
import { type NewJob, submitJob } from '../../db/distributions/jobs.ts'
import { createPool, type Db, type Pool, withTenant } from '../../db/pool.ts'
import { createSealer, type Sealer } from '../../db/secrets.ts'
import { insertTenant } from '../../db/tenants/tenants.ts'
import { createDispatcher } from '../../temporal-config/client/dispatcher.ts'
import { temporalHealth } from '../../temporal-config/client/health.ts'
import { createRuns } from '../../temporal-config/client/runs.ts'
import { createMetrics } from '../../temporal-config/process/metrics.ts'
import { startWorkers, type Workers } from '../../temporal-config/worker/worker.ts'
import type { Dispatcher, Runs } from '../../workflows/client.ts'
import type { DistributionRef } from '../../workflows/messages.ts'
import { SEARCH_ATTRIBUTES } from '../../workflows/names.ts'
import { watchEnds } from './ends.ts'
import { createTestDatabase, type TestDatabase } from './postgres.ts'
import { connectTemporal, NAMESPACE, uniqueQueue } from './temporal.ts'
import { workflowBundle } from './workflow-bundle.ts'

export const QUICK: Backoff = { first_ms: 50, max_ms: 400 }

export interface TestSystem {
  database: TestDatabase
  pool: Pool
  temporal: TestWorkflowEnvironment
  taskQueue: string
  sealer: Sealer
  metrics: Metrics
  runs: Runs
  dispatcher: Dispatcher
  deps: ActivityDeps
  /** Log lines of the workers, parsed. */
  log: Record<string, unknown>[]
  startWorkers(): Promise<Workers>
  tenant(id: string): Promise<void>
  submit(job: Partial<NewJob> & { tenant_id?: string }): Promise<DistributionRef>
  /** Submits and starts the run. */
  distribute(job: Partial<NewJob>): Promise<DistributionRef>
  as<T>(tenantId: string, work: (db: Db) => Promise<T>): Promise<T>
  job(ref: DistributionRef): Promise<JobRow>
  /** The job once it is final. */
  ended(ref: DistributionRef): Promise<JobRow>
  deliveries(ref: DistributionRef): Promise<DeliveryRow[]>
  attempts(ref: DistributionRef): Promise<AttemptRow[]>
  close(): Promise<void>
}

export interface JobRow {
  status: string
  error_code: string | null
  error_message: string | null
  round: number
  retry_count: number
  completed_at: Date | null
  warnings: string[]
  cancel_reason: string | null
  sweep_starts: number
}

export interface DeliveryRow {
  destination_name: string
  status: string
  attempts: number
  error_code: string | null
  error_message: string | null
  delivery_id: string
  next_attempt_at: Date | null
}

export interface AttemptRow {
  id: string
  destination_name: string
  attempt_number: number
  status: string
  retry_reason: string | null
  error_message: string | null
  response_status_code: number | null
  response_body: string | null
  metadata: Record<string, unknown>
  started_at: Date
  completed_at: Date | null
}

export interface TestSystemOptions {
  backoff?: Backoff
  /** Between attempts; `backoff` unless given. */
  backoffFor?: ActivityDeps['backoffFor']
  /** CIDRs that deliveries may reach; loopback by default. */
  allow?: string[]
  /** Where the workers find the database, when not at its own URL. */
  workerDatabaseUrl?: (url: string) => Promise<string>
  timing?: Partial<Timing>
  shaper?: ShaperOptions
}

export async function createTestSystem(options: TestSystemOptions = {}): Promise<TestSystem> {
  const database = await createTestDatabase()
  const pool = createPool({ connectionString: database.url, max: 20, application_name: 'test' })
  const workerUrl = await options.workerDatabaseUrl?.(database.url)
  const workerPool = workerUrl
    ? createPool({ connectionString: workerUrl, max: 20, application_name: 'test-worker' })
    : pool
  const temporal = await connectTemporal()
  const taskQueue = uniqueQueue('distributor')
  const sealer = createSealer(`k1:${randomBytes(32).toString('base64')}`)
  const metrics = createMetrics()
  const log: Record<string, unknown>[] = []
  const logger = pino({ level: 'debug' }, { write: (line: string) => void log.push(JSON.parse(line)) })
  const runs = createRuns({
    connection: temporal.connection,
    namespace: NAMESPACE,
    taskQueue,
    eager: false,
    searchAttributes: () => new Set(SEARCH_ATTRIBUTES),
  })
  const deps: ActivityDeps = {
    pool: workerPool,
    sealer,
    egress: createEgress({ allow: options.allow ?? ['127.0.0.0/8', '::1/128'] }),
    logger,
    metrics,
    usage: createUsage(workerPool),
    payloads: createPayloads(),
    shaper: createShaper(options.shaper),
    slots: createWorkerSlots(),
    backgroundSlots: createWorkerSlots(undefined, undefined, BACKGROUND),
    timing: { ...TIMING, backoff: options.backoff ?? QUICK, ...options.timing },
    backoffFor: options.backoffFor ?? (() => options.backoff ?? QUICK),
    worker: 'test',
    environmentSecrets: {},
    runs: () => runs,
  }
  const dispatcher = createDispatcher({
    runs: () => runs,
    health: () => temporalHealth(temporal.connection, NAMESPACE, taskQueue),
    logger,
  })
  const started: Workers[] = []
  const ends = watchEnds(database.superuserUrl)
  const inTurn = atMost(10)
  const as = <T>(tenantId: string, work: (db: Db) => Promise<T>) => inTurn(() => withTenant(pool, tenantId, work))
  const submit = async (job: Partial<NewJob>): Promise<DistributionRef> => {
    const whole = aJob(job)
    const { distribution_id } = await as(whole.tenant_id, (db) => submitJob(db, whole))
    return { tenant_id: whole.tenant_id, distribution_id }
  }
  const job = async (ref: DistributionRef): Promise<JobRow> => {
    const { rows } = await as(ref.tenant_id, (db) =>
      db.query<JobRow>(
        `select status, error_code, error_message, round, retry_count, completed_at, warnings, cancel_reason, sweep_starts
           from distribution_jobs where distribution_id = $1`,
        [ref.distribution_id],
      ),
    )
    return rows[0]!
  }
  return {
    database,
    pool,
    temporal,
    taskQueue,
    sealer,
    metrics,
    runs,
    dispatcher,
    deps,
    log,
    as,
    submit,
    async startWorkers() {
      const workers = await startWorkers({
        connection: temporal.nativeConnection,
        namespace: NAMESPACE,
        taskQueue,
        workflows: await workflowBundle(),
        deps,
        shutdownGraceTime: '2 s',
      })
      started.push(workers)
      return workers
    },
    async tenant(id) {
      await as(id, (db) => insertTenant(db, sealer, { id, name: id, description: null, callback_secret: null }))
    },
    async distribute(job) {
      const ref = await submit(job)
      await runs.start(ref, { data_type: job.data_type ?? A_JOB.data_type, priority: job.priority ?? 'normal' })
      return ref
    },
    job,
    async ended(ref) {
      await ends.of(ref.distribution_id.slice(5))
      return await job(ref)
    },
    async deliveries(ref) {
      const { rows } = await as(ref.tenant_id, (db) =>
        db.query<DeliveryRow>(
          `select destination_name, status, attempts, error_code, error_message, delivery_id, next_attempt_at
             from distribution_deliveries where distribution_job_id = $1 order by position`,
          [ref.distribution_id.slice(5)],
        ),
      )
      return rows
    },
    async attempts(ref) {
      const { rows } = await as(ref.tenant_id, (db) =>
        db.query<AttemptRow>(
          `select id, destination_name, attempt_number, status, retry_reason, error_message, response_status_code,
                  response_body, metadata, started_at, completed_at
             from distribution_attempts where distribution_job_id = $1 order by destination_name, attempt_number`,
          [ref.distribution_id.slice(5)],
        ),
      )
      return rows
    },
    async close() {
      await Promise.all(started.map((workers) => workers.shutdown().catch(() => {})))
      await ends.close()
      await pool.end()
      if (workerPool !== pool) await workerPool.end()
      deps.shaper.close()
      await temporal.teardown()
      await database.close()
    },
  }
}

/** Lets so many go on at a time. The pool refuses what waits for 3 s, which on a busy machine would be the test's own. */
function atMost(count: number) {
  let free = count
  const waiting: (() => void)[] = []
  return async <T>(work: () => Promise<T>): Promise<T> => {
    if (free > 0) free -= 1
    else await new Promise<void>((resolve) => waiting.push(resolve))
    try {
      return await work()
    } finally {
      const next = waiting.shift()
      if (next) next()
      else free += 1
    }
  }
}

/** The backoff of production, for tests that look at real delays. */
export const PRODUCTION_BACKOFF = BACKOFF

/** The input of the run of a job, unless the job says something else. */
export const ABOUT = { data_type: 'report', priority: 'normal' } as const

const A_JOB: NewJob = {
  tenant_id: 'acme',
  id: null,
  data_type: 'report',
  priority: 'normal',
  payload_text: '{"hello":"world"}',
  payload_queryable: true,
  destinations: [],
  callback_url: null,
  max_retries: null,
  timeout_seconds: 300,
  expires_at: null,
  deliver_at: null,
  metadata_text: '{}',
  options: {},
  request_id: 'request-1',
  actor: 'test',
}

/** A job of the tenant acme; a test states only the fields that it cares for. */
export function aJob(given: Partial<NewJob>): NewJob {
  return { ...A_JOB, ...given }
}

/** An inline REST destination. */
export function restTo(name: string, endpoint: string, configuration: Record<string, unknown> = {}) {
  return { name, protocol: 'REST' as const, configuration: { endpoint, ...configuration } }
}
