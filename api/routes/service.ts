// Health and metrics: outside `/api/v1`, for machines.
import { z } from '@hono/zod-openapi'
import { withoutTenant } from '../../db/pool.ts'
import { queueDepths } from '../../db/upkeep/queue-depths.ts'
import type { AppDeps } from '../http/context.ts'
import { type Endpoint, endpoint } from '../http/endpoint.ts'
import { CHECKS, readiness } from '../http/health.ts'

const tag = 'Service'

const ready = z
  .object({
    status: z.enum(['ready', 'unavailable']),
    checks: z.object(Object.fromEntries(CHECKS.map((check) => [check, z.enum(['ok', 'failing'])]))),
    failing: z.array(z.enum(CHECKS)),
    missing_search_attributes: z.array(z.string()),
    warnings: z.array(z.string()).optional().openapi({
      description: 'Only where there is one, such as a clock that is far away from the database’s; work goes on',
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

const detailed = ready
  .extend({
    version: z.string(),
    uptime_seconds: z.int(),
    partitions_ahead: z.int().nullable(),
    database_connections: z.object({ total: z.int(), idle: z.int(), waiting: z.int() }),
    open_deliveries: z.record(z.string(), z.int()).nullable(),
    memory_bytes: z.int(),
  })
  .openapi('DetailedHealth')

export function serviceEndpoints(deps: AppDeps): Endpoint[] {
  const { pool, registry, version } = deps

  const live = endpoint({
    method: 'get',
    path: '/health/live',
    tag,
    summary: 'The process answers',
    role: null,
    answers: { 200: { description: 'It does', schema: z.object({ status: z.literal('live') }) } },
    async handle({ c }) {
      return c.json({ status: 'live' })
    },
  })

  const readyNow = endpoint({
    method: 'get',
    path: '/health/ready',
    tag,
    summary: 'Everything that a distribution needs is there',
    role: null,
    answers: {
      200: { description: 'All checks are fine', schema: ready },
      503: { description: '`failing` names what is not', schema: ready },
    },
    async handle({ c }) {
      const found = await readiness(deps)
      return c.json(shown(found), found.failing.length === 0 ? 200 : 503)
    },
  })

  const detail = endpoint({
    method: 'get',
    path: '/health/detailed',
    tag,
    summary: 'The checks, with numbers',
    role: 'platform',
    answers: { 200: { description: 'As it stands, also when something fails', schema: detailed } },
    async handle({ c }) {
      const found = await readiness(deps)
      const depths = await withoutTenant(pool, queueDepths, { statementTimeoutMs: 2000 }).catch(() => null)
      return c.json({
        ...shown(found),
        version,
        uptime_seconds: Math.floor(process.uptime()),
        partitions_ahead: found.partitions_ahead,
        database_connections: { total: pool.totalCount, idle: pool.idleCount, waiting: pool.waitingCount },
        open_deliveries: depths,
        memory_bytes: process.memoryUsage.rss(),
      })
    },
  })

  const metrics = endpoint({
    method: 'get',
    path: '/metrics',
    tag,
    summary: 'Prometheus metrics',
    role: 'platform',
    answers: { 200: { description: 'Text format', schema: z.string(), media_type: 'text/plain' } },
    async handle({ c }) {
      return c.body(await registry.metrics(), 200, { 'Content-Type': registry.contentType })
    },
  })

  return [live, readyNow, detail, metrics]
}

function shown(found: Awaited<ReturnType<typeof readiness>>) {
  const { checks, failing, missing_search_attributes, warnings } = found
  return {
    status: failing.length === 0 ? 'ready' : 'unavailable',
    checks: Object.fromEntries(CHECKS.map((check) => [check, checks[check] ? 'ok' : 'failing'])),
    failing,
    missing_search_attributes,
    ...(warnings.length > 0 ? { warnings } : {}),
  }
}
