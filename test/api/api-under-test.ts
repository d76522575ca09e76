// The API over a real database of its own, with a dispatcher that only notes what it was asked.
import { randomBytes } from 'node:crypto'
import { Writable } from 'node:stream'
import type pg from 'pg'
import { createEgress } from '../../activities/destinations/network/egress.ts'
import { createShaper, type ShaperOptions } from '../../activities/shaping/shaper.ts'
import { createApp } from '../../api/app.ts'
import { hashKey } from '../../api/http/auth.ts'
import type { UploadTimes } from '../../api/http/context.ts'
import type { ProbeResult } from '../../db/destinations/health-checks.ts'
import type { ResumeRef } from '../../db/distributions/resume.ts'
import { createPool, type Pool, withTenant } from '../../db/pool.ts'
import { createSealer, type Sealer } from '../../db/secrets.ts'
import type { Role } from '../../db/states.ts'
import { insertApiKey } from '../../db/tenants/api-keys.ts'
import { bootstrapTenant, insertTenant } from '../../db/tenants/tenants.ts'
import { createLogger } from '../../temporal-config/process/log.ts'
import { createMetrics } from '../../temporal-config/process/metrics.ts'
import type { Dispatcher, Runs, ScheduleSpec, TemporalHealth } from '../../workflows/client.ts'
import type { BatchRef, DistributionRef, HealthCheckSchedule, ProbeInput } from '../../workflows/messages.ts'
import { createTestDatabase } from '../support/postgres.ts'
import { NOT_EXPECTED } from '../support/runs.ts'
import { createAnswerCheck } from './answers.ts'

export interface FakeDispatcher extends Dispatcher {
  /** What the calls reach; a test may put another method in. */
  runs: Runs
  started: DistributionRef[]
  cancelled: DistributionRef[]
  rereads: DistributionRef[]
  retried: DistributionRef[]
  batches: BatchRef[]
  turns: DistributionRef[]
  resumed: ResumeRef[]
  schedules: ScheduleSpec[]
  probed: ProbeInput[]
  healthChecks: HealthCheckSchedule[]
  /** What the next calls answer. */
  answers: {
    start: 'started' | 'deferred'
    schedule?: { refused: string }
    /** Null: no worker answers. */
    probe: ProbeResult | null
    health: TemporalHealth
  }
}

export interface Answer {
  status: number
  headers: Headers
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers of every shape
  body: any
  text: string
}

export interface ApiUnderTest {
  pool: Pool
  sealer: Sealer
  dispatcher: FakeDispatcher
  /** Keys of the tenants `acme` and `other`. */
  keys: { acme: Record<Role, string>; other: Record<Role, string> }
  log: { lines(): string[] }
  /** What a server hands its requests to. */
  fetch(request: Request, env: object): Response | Promise<Response>
  /** `from`: the address of the connection. */
  request(path: string, init?: RequestInit, from?: string): Promise<Answer>
  /** A JSON request; the operator of `acme` unless another key is given, a string body goes out as it is. */
  call(method: string, path: string, body?: unknown, options?: CallOptions): Promise<Answer>
  /** Rows of a statement on the tables, as the tenant. */
  rows<T extends pg.QueryResultRow>(tenant: string, sql: string, values?: unknown[]): Promise<T[]>
  close(): Promise<void>
}

export interface CallOptions {
  key?: string
  headers?: Record<string, string>
}

export async function startApi(
  options: {
    max_body_bytes?: number
    upload?: UploadTimes
    shaper?: ShaperOptions
    /** Another server than the test run's. */
    server?: { url: string }
    /** False where rows are written by hand, which the document does not describe. */
    check_answers?: boolean
    /** Where the API finds the database, when not at its own URL. */
    databaseUrl?: (url: string) => string
  } = {},
): Promise<ApiUnderTest> {
  const database = await createTestDatabase(options.server ? { server: options.server } : {})
  const url = options.databaseUrl?.(database.url) ?? database.url
  const pool = createPool({ connectionString: url, max: 10, application_name: 'api-test' })
  const sealer = createSealer(`k1:${randomBytes(32).toString('base64')}`)
  const dispatcher = fakeDispatcher()
  const lines: string[] = []
  const sink = new Writable({
    write(chunk, _encoding, done) {
      lines.push(String(chunk))
      done()
    },
  })
  const { registry, ...metrics } = createMetrics()
  const shaper = createShaper(options.shaper)
  const app = createApp({
    pool,
    dispatcher,
    sealer,
    egress: createEgress({ allow: ['198.18.0.0/15'] }),
    shaper,
    logger: createLogger('info', 'api', sink),
    registry,
    metrics,
    limits: {
      max_body_bytes: options.max_body_bytes ?? 10 * 1024 * 1024,
      ...(options.upload && { upload: options.upload }),
    },
    version: '0.0.0-test',
  })
  const keys = { acme: await tenantWithKeys(pool, sealer, 'acme'), other: await tenantWithKeys(pool, sealer, 'other') }

  let check: ReturnType<typeof createAnswerCheck> | undefined
  async function request(path: string, init: RequestInit = {}, from?: string): Promise<Answer> {
    const response = await app.request(path, init, { incoming: { socket: { remoteAddress: from } } })
    const text = await response.text()
    const { status, headers } = response
    const body = headers.get('content-type')?.startsWith('application/json') ? JSON.parse(text) : undefined
    if (options.check_answers !== false && path !== '/openapi.json') {
      check ??= createAnswerCheck((await (await app.request('/openapi.json')).json()) as Record<string, unknown>)
      check({ method: init.method ?? 'GET', path, status, body })
    }
    return { status, headers, text, body }
  }

  return {
    pool,
    sealer,
    dispatcher,
    keys,
    log: { lines: () => lines },
    fetch: (request, env) => app.fetch(request, env),
    request,
    call(method, path, body, { key = keys.acme.operator, headers = {} } = {}) {
      return request(`/api/v1${path}`, {
        method,
        headers: {
          'X-API-Key': key,
          ...(body === undefined ? {} : { 'Content-Type': 'application/json' }),
          ...headers,
        },
        ...(body === undefined ? {} : { body: isRaw(body) ? body : JSON.stringify(body) }),
      } as RequestInit)
    },
    rows: (tenant, sql, values) => withTenant(pool, tenant, async (db) => (await db.query(sql, values)).rows),
    async close() {
      shaper.close()
      await pool.end()
      await database.close()
    },
  }
}

function isRaw(body: unknown): body is string | Uint8Array {
  return typeof body === 'string' || body instanceof Uint8Array
}

async function tenantWithKeys(pool: Pool, sealer: Sealer, id: string): Promise<Record<Role, string>> {
  const platform = `platform-key-of-${id}-${randomBytes(8).toString('hex')}`
  if (id === 'acme') await bootstrapTenant(pool, sealer, { tenant: id, apiKey: platform })
  const keys = { platform } as Record<Role, string>
  await withTenant(pool, id, async (db) => {
    await insertTenant(db, sealer, { id, name: id, description: null, callback_secret: null })
    for (const role of ['viewer', 'operator', 'admin', ...(id === 'acme' ? [] : ['platform' as const])] as Role[]) {
      keys[role] = role === 'platform' ? platform : `${role}-key-of-${id}-${randomBytes(8).toString('hex')}`
      await insertApiKey(db, {
        tenant_id: id,
        name: role,
        key_sha256: hashKey(keys[role]),
        prefix: role,
        role,
        expires_at: null,
      })
    }
  })
  return keys
}

function fakeDispatcher(): FakeDispatcher {
  const fake: FakeDispatcher = {
    runs: {
      ...NOT_EXPECTED,
      start: async (ref) => void fake.started.push(ref),
      signalCancel: async (ref) => void fake.cancelled.push(ref),
      signalReread: async (ref) => void fake.rereads.push(ref),
      signalRetry: async (ref) => void fake.retried.push(ref),
      signalTurn: async (ref) => void fake.turns.push(ref),
      resume: async (ref) => void fake.resumed.push(ref),
      startBatch: async (ref) => void fake.batches.push(ref),
      healthCheck: async (check) => void fake.healthChecks.push(check),
      async setSchedule(row) {
        fake.schedules.push(row)
        return fake.answers.schedule ?? { refused: null }
      },
      describeSchedule: async () => ({ paused: false, next_runs: [] }),
      async probe(input) {
        fake.probed.push(input)
        return fake.answers.probe!
      },
    },
    started: [],
    cancelled: [],
    rereads: [],
    retried: [],
    batches: [],
    turns: [],
    resumed: [],
    schedules: [],
    probed: [],
    healthChecks: [],
    answers: {
      start: 'started',
      probe: { healthy: true, code: null, message: null, response_time_ms: 3 },
      health: { temporal: true, missing_search_attributes: [], worker_polling: true },
    },
    async tell(_what, _about, call) {
      await call(fake.runs)
      return fake.answers.start === 'started'
    },
    async ask(_what, _about, call) {
      const answer = await call(fake.runs)
      return fake.answers.start === 'started' ? answer : null
    },
    async health() {
      return fake.answers.health
    },
  }
  return fake
}

/** A submission that is accepted; a test states only the fields that it cares for. */
export function aSubmission(given: Record<string, unknown> = {}): Record<string, unknown> {
  return { data_type: 'report', payload: { n: 1 }, destinations: [inline()], ...given }
}

/** An inline destination that is accepted. */
export function inline(given: Record<string, unknown> = {}): Record<string, unknown> {
  return { name: 'ad-hoc', protocol: 'REST', endpoint: 'https://receiver.example/in', ...given }
}
