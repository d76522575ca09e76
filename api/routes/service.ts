// Health and metrics, outside `/api/v1`.
import { z } from '@hono/zod-openapi'
import { withoutTenant } from '../../db/pool.ts'
import { queueDepths } from '../../db/upkeep/queue-depths.ts'
import { endpoint } from '../http/endpoint.ts'
import { CHECKS, type Readiness, readiness } from '../http/health.ts'

const tag = 'Service'

const readinessAnswer = z
  .object({
    status: z.enum(['ready', 'unavailable']),
    checks: z.object(Object.fromEntries(CHECKS.map((check) => [check, z.enum(['ok', 'failing'])]))),
    failing: z.array(z.enum(CHECKS)),
    missing_search_attributes: z.array(z.string()),
    warnings: z.array(z.string()).optional().openapi({
      description:
        'Problems that do not stop the service, such as a clock that differs from the database’s; absent if none',
    }),
  })
  .openapi('Readiness', {
    example: {
      status: 'unavailable',
      checks: { database: 'ok', partitions: 'ok', temporal: 'ok', search_attributes: 'ok', worker: 'failing' },
      failing: ['worker'],
      missing_search_attributes: [],
    },
  })

const detailedAnswer = readinessAnswer
  .extend({
    version: z.string(),
    uptime_seconds: z.int(),
    partitions_ahead: z.int().nullable(),
    database_connections: z.object({ total: z.int(), idle: z.int(), waiting: z.int() }),
    open_deliveries: z.record(z.string(), z.int()).nullable(),
    memory_bytes: z.int(),
  })
  .openapi('DetailedHealth')

export const live = endpoint({
  method: 'get',
  path: '/health/live',
  operation: 'checkLive',
  tag,
  summary: 'Liveness',
  role: null,
  answers: { 200: { description: 'The process responds', schema: z.object({ status: z.literal('live') }) } },
}).handle(async () => {
  return { status: 200, body: { status: 'live' } }
})

export const ready = endpoint({
  method: 'get',
  path: '/health/ready',
  operation: 'checkReady',
  tag,
  summary: 'Readiness',
  role: null,
  answers: {
    200: { description: 'All checks pass', schema: readinessAnswer },
    503: { description: '`failing` lists the checks that fail', schema: readinessAnswer },
  },
}).handle(async ({ deps }) => {
  const found = await readiness(deps)
  return { status: found.failing.length === 0 ? 200 : 503, body: shown(found) }
})

export const detailed = endpoint({
  method: 'get',
  path: '/health/detailed',
  operation: 'getHealth',
  tag,
  summary: 'Detailed health',
  role: 'platform',
  answers: { 200: { description: 'The checks and some numbers; 200 even if a check fails', schema: detailedAnswer } },
}).handle(async ({ deps }) => {
  const { pool, version } = deps
  const found = await readiness(deps)
  const depths = await withoutTenant(pool, queueDepths, { statementTimeoutMs: 2000 }).catch(() => null)
  return {
    status: 200,
    body: {
      ...shown(found),
      version,
      uptime_seconds: Math.floor(process.uptime()),
      partitions_ahead: found.partitions_ahead,
      database_connections: { total: pool.totalCount, idle: pool.idleCount, waiting: pool.waitingCount },
      open_deliveries: depths,
      memory_bytes: process.memoryUsage.rss(),
    },
  }
})

export const metrics = endpoint({
  method: 'get',
  path: '/metrics',
  operation: 'getMetrics',
  tag,
  summary: 'Prometheus metrics',
  role: 'platform',
  answers: {
    200: { description: 'Metrics in the Prometheus text format', schema: z.string(), media_type: 'text/plain' },
  },
}).handle(async ({ deps: { registry } }) => {
  return { status: 200, headers: { 'Content-Type': registry.contentType }, body: await registry.metrics() }
})

function shown({ checks, failing, missing_search_attributes, warnings }: Readiness) {
  return {
    status: failing.length === 0 ? ('ready' as const) : ('unavailable' as const),
    checks: Object.fromEntries(CHECKS.map((check) => [check, checks[check] ? 'ok' : 'failing'] as const)),
    failing,
    missing_search_attributes,
    ...(warnings.length > 0 ? { warnings } : {}),
  }
}
