// Serves endpoints: authenticates and parses each request, calls the handler, and sends its reply.
import type { OpenAPIHono } from '@hono/zod-openapi'
import type { Context } from 'hono'
import type { ContentfulStatusCode } from 'hono/utils/http-status'
import type { z } from 'zod'
import { withTenant } from '../../db/pool.ts'
import { writeAudit } from '../../db/tenants/audit.ts'
import { parse } from '../schemas/issues.ts'
import { type Authenticate, requireOwnTenant, requireRole } from './auth.ts'
import type { BodiesUnderWay, HeldBody } from './bodies-under-way.ts'
import { announcedSize, readBody, refuseAnnouncedSize } from './body.ts'
import type { ApiEnv, Caller } from './context.ts'
import type { ApiDeps, Endpoint, Request, RequestBody, SentReply } from './endpoint.ts'
import { ApiError, invalid } from './errors.ts'
import { stringify } from './exact-json.ts'
import { parseJson, Texts } from './json.ts'
import { describe } from './openapi.ts'

const SMALL_BODY = 1_048_576

export interface MountOptions {
  /** The beginning of each path. */
  prefix: string
  authenticate: Authenticate
  bodies: BodiesUnderWay
}

/** Serves the endpoints, and describes them in the app's OpenAPI document. */
export function mount(
  app: OpenAPIHono<ApiEnv>,
  endpoints: readonly Endpoint[],
  deps: ApiDeps,
  { prefix, authenticate, bodies }: MountOptions,
): void {
  for (const one of endpoints) {
    const limit = Math.min(deps.limits.max_body_bytes, one.max_body_bytes ?? SMALL_BODY)
    app.on(one.method.toUpperCase(), `${prefix}${one.path.replace(/\{(\w+)\}/g, ':$1')}`, async (c) => {
      c.set('route', `${prefix}${one.path}`)
      refuseAnnouncedSize(c.req, limit)
      // Authentication comes before the body, so that nothing is buffered for unknown senders.
      const caller = one.role === null ? undefined : requireRole(await authenticate(c), one.role)
      c.set('caller', caller)
      const params = one.params ? readParams(one.params, c) : undefined
      const query = one.query ? parse(one.query, singleValues(c)) : undefined
      const answer = async (held?: HeldBody) => {
        const most = one.body ? limit : SMALL_BODY
        const raw = held ? await readContent(one, await readBody(c.req, most, held, deps.limits.upload)) : NO_BODY
        const body = one.body && parse(one.body, raw.value)
        for (const given of [query, body]) {
          const { tenant_id } = (given ?? {}) as { tenant_id?: unknown }
          if (typeof tenant_id === 'string') requireOwnTenant(caller as Caller, tenant_id)
        }
        return send(c, one, await one.handle({ ...requestOf(c, deps, caller as Caller), params, query, body, raw }))
      }
      if (!caller || c.req.method === 'GET') return await answer()
      const held = bodies.begin(caller, announcedSize(c.req))
      try {
        return await answer(held)
      } finally {
        held.end()
      }
    })
    describe(app, prefix, one)
  }
}

type Given = Pick<Request, 'c' | 'deps' | 'caller' | 'request_id' | 'transaction' | 'audit'>

function requestOf(c: Context<ApiEnv>, deps: ApiDeps, caller: Caller): Given {
  const request_id = c.get('request_id')
  return {
    c,
    deps,
    caller,
    request_id,
    transaction: (work) => withTenant(deps.pool, caller.tenant_id, work),
    audit: (db, entry) => writeAudit(db, { tenant_id: caller.tenant_id, actor: caller.actor, request_id, ...entry }),
  }
}

function send(c: Context<ApiEnv>, { answers }: Endpoint, { status, body, headers }: SentReply): Response {
  if (status === 204) return c.body(null, 204)
  const media_type = answers[status]?.media_type
  const text = media_type === undefined ? stringify(body) : String(body)
  return c.body(text, status as ContentfulStatusCode, { 'Content-Type': media_type ?? 'application/json', ...headers })
}

const NO_BODY: RequestBody = {
  bytes: Buffer.alloc(0),
  value: undefined,
  texts: new Texts(),
  unstorable: [],
  queryable: true,
  elements: { count: 0, first: [] },
}

/** Without a schema a body would be ignored, for example a reason for disabling, so it is rejected. */
function readNothing(bytes: Buffer): RequestBody {
  if (bytes.length === 0 || (bytes.length < 100 && bytes.toString().trim() === '{}')) return NO_BODY
  throw invalid([{ field: 'body', issue: 'must be empty: this request takes no body' }])
}

async function readContent(
  { body, body_optional: optional, body_form }: Endpoint,
  bytes: Buffer,
): Promise<RequestBody> {
  if (!body) return readNothing(bytes)
  if (bytes.length === 0 && optional) return { ...NO_BODY, value: {} }
  if (bytes.length === 0) throw invalid([{ field: 'body', issue: 'is empty, and must be a JSON object' }])
  const parsed = await parseJson(bytes, body_form)
  if (typeof parsed.value !== 'object' || parsed.value === null || Array.isArray(parsed.value)) {
    throw invalid([{ field: 'body', issue: 'must be a JSON object' }])
  }
  if (parsed.unstorable.length > 0) throw invalid(parsed.unstorable)
  return { bytes, ...parsed }
}

/** A path parameter that no row can have is a 404, not a 400: the resource does not exist. */
function readParams(schema: z.ZodObject, c: Context<ApiEnv>): unknown {
  const given = c.req.param() as Record<string, string>
  const result = schema.safeParse(given)
  if (!result.success || Object.values(given).some((text) => text.includes('\0')))
    throw new ApiError('NOT_FOUND', 'no such resource')
  return result.data
}

/** Only one value of a repeated parameter would be used, so it is rejected. */
function singleValues(c: Context<ApiEnv>): Record<string, string> {
  const given = c.req.queries()
  const repeated = Object.keys(given).filter((name) => (given[name]?.length ?? 0) > 1)
  if (repeated.length > 0) throw invalid(repeated.map((field) => ({ field, issue: 'appears more than once' })))
  const single = Object.fromEntries(Object.entries(given).map(([name, values]) => [name, values[0] ?? '']))
  const unstorable = Object.keys(single).filter((name) => single[name]?.includes('\0'))
  if (unstorable.length > 0) throw invalid(unstorable.map((field) => ({ field, issue: 'contains a NUL character' })))
  return single
}
