// One route: its schema, the role it asks for, and what it does. The same object is the check and the documentation.
import type { OpenAPIHono } from '@hono/zod-openapi'
import type { Context } from 'hono'
import type { z } from 'zod'
import type { Role } from '../../db/states.ts'
import { errorExample, errorSchema } from '../schemas/error.ts'
import { parse } from '../schemas/issues.ts'
import type { Authenticate } from './auth.ts'
import { requireRole } from './auth.ts'
import type { BodiesUnderWay, HeldBody } from './bodies-under-way.ts'
import { announcedSize, MEDIA_TYPES, readBody, refuseAnnouncedSize } from './body.ts'
import type { ApiEnv, AppDeps, Caller } from './context.ts'
import { ApiError, invalid } from './errors.ts'
import { type JsonForm, type ParsedJson, parseJson, Texts } from './json.ts'

/** A decoded body: the bytes after gunzip, and what they say. `value` is undefined when the request had no body. */
export interface RequestBody extends ParsedJson {
  bytes: Buffer
}

export interface Request<Params, Query, Body> {
  c: Context<ApiEnv>
  /** Undefined only where the endpoint asks for no role. */
  caller: Caller
  params: Params
  query: Query
  body: Body
  raw: RequestBody
}

export interface Answer {
  description: string
  schema?: z.ZodType
  example?: unknown
  /** Of an answer that is not JSON. */
  media_type?: string
}

type Output<T> = T extends z.ZodType ? z.output<T> : undefined

export interface EndpointOf<
  Params extends z.ZodObject | undefined,
  Query extends z.ZodObject | undefined,
  Body extends z.ZodType | undefined,
> {
  method: 'get' | 'post' | 'put' | 'delete'
  /** As OpenAPI writes it: `/distribution/{id}/status`. */
  path: string
  tag: string
  summary: string
  description?: string
  /** The weakest role that may call it; null for everybody, without a key. */
  role: Role | null
  params?: Params
  query?: Query
  headers?: z.ZodObject
  body?: Body
  body_example?: unknown
  /** An empty body counts as `{}`. */
  body_optional?: boolean
  /** The handler checks the body itself; `body` is its documentation. */
  body_checked_by_handler?: boolean
  /** How the body is read, where it is not a submission's form. */
  body_form?: JsonForm
  /** In bytes; 1 MiB when absent, and never above the API's own limit. */
  max_body_bytes?: number
  answers: Record<number, Answer>
  handle(request: Request<Output<Params>, Output<Query>, Output<Body>>): Promise<Response>
}

// biome-ignore lint/suspicious/noExplicitAny: a list of endpoints forgets the types that each of them was checked with
export type Endpoint = EndpointOf<any, any, any>

/** An endpoint whose handler sees exactly what its schemas let through. */
export function endpoint<
  Params extends z.ZodObject | undefined = undefined,
  Query extends z.ZodObject | undefined = undefined,
  Body extends z.ZodType | undefined = undefined,
>(definition: EndpointOf<Params, Query, Body>): Endpoint {
  return definition
}

const SMALL_BODY = 1_048_576

/** Serves the endpoints under `prefix`, and describes them in the app's OpenAPI document. */
export function mount(
  app: OpenAPIHono<ApiEnv>,
  prefix: string,
  endpoints: Endpoint[],
  deps: Pick<AppDeps, 'limits'>,
  authenticate: Authenticate,
  bodies: BodiesUnderWay,
): void {
  for (const one of endpoints) {
    const limit = Math.min(deps.limits.max_body_bytes, one.max_body_bytes ?? SMALL_BODY)
    app.on(one.method.toUpperCase(), `${prefix}${one.path.replace(/\{(\w+)\}/g, ':$1')}`, async (c) => {
      c.set('route', `${prefix}${one.path}`)
      refuseAnnouncedSize(c.req, limit)
      // The key comes before the body: who may not ask gets nothing buffered.
      const caller = one.role === null ? undefined : requireRole(await authenticate(c), one.role)
      c.set('caller', caller)
      const params = one.params ? readParams(one.params, c) : undefined
      const query = one.query ? parse(one.query, singleValues(c)) : undefined
      const answer = async (held?: HeldBody) => {
        const most = one.body ? limit : SMALL_BODY
        const raw = held ? await readContent(one, await readBody(c.req, most, held, deps.limits.upload)) : NO_BODY
        const body = one.body && !one.body_checked_by_handler ? parse(one.body, raw.value) : undefined
        return one.handle({ c, caller: caller as Caller, params, query, body, raw })
      }
      if (!caller || c.req.method === 'GET') return await answer()
      const held = bodies.begin(caller, announcedSize(c.req))
      try {
        return await answer(held)
      } finally {
        held.end()
      }
    })
    document(app, prefix, one)
  }
}

const NO_BODY: RequestBody = {
  bytes: Buffer.alloc(0),
  value: undefined,
  texts: new Texts(),
  unstorable: [],
  queryable: true,
  elements: { count: 0, first: [] },
}

/** What is sent where nothing is asked for would be ignored: a reason for disabling, say. */
function readNothing(bytes: Buffer): RequestBody {
  if (bytes.length === 0 || (bytes.length < 100 && bytes.toString().trim() === '{}')) return NO_BODY
  throw invalid([{ field: 'body', issue: 'has no meaning here: nothing of it would be kept' }])
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

/** A path that no row can have is a 404, not a bad request: the caller asked for a thing that is not there. */
function readParams(schema: z.ZodObject, c: Context<ApiEnv>): unknown {
  const given = c.req.param() as Record<string, string>
  const result = schema.safeParse(given)
  if (!result.success || Object.values(given).some((text) => text.includes('\0')))
    throw new ApiError('NOT_FOUND', 'no such thing')
  return result.data
}

/** A parameter given twice would be half ignored, so it is refused. */
function singleValues(c: Context<ApiEnv>): Record<string, string> {
  const given = c.req.queries()
  const repeated = Object.keys(given).filter((name) => (given[name]?.length ?? 0) > 1)
  if (repeated.length > 0) throw invalid(repeated.map((field) => ({ field, issue: 'appears more than once' })))
  const single = Object.fromEntries(Object.entries(given).map(([name, values]) => [name, values[0] ?? '']))
  const unstorable = Object.keys(single).filter((name) => single[name]?.includes('\0'))
  if (unstorable.length > 0) throw invalid(unstorable.map((field) => ({ field, issue: 'contains a NUL character' })))
  return single
}

function document(app: OpenAPIHono<ApiEnv>, prefix: string, one: Endpoint): void {
  const content = (schema: z.ZodType, example: unknown) => ({ schema, ...(example === undefined ? {} : { example }) })
  const limited = prefix !== '' && one.role !== null
  const refusals = [
    400,
    ...(one.role === null ? [] : [401, 403]),
    ...(one.body ? [408, 413] : []),
    ...(limited ? [429] : []),
    500,
    503,
  ]
  const responses: Record<string, object> = {}
  for (const status of refusals) {
    const description = REFUSALS[status] ?? 'Refused'
    const example = errorExample(status, description)
    responses[status] = { description, content: { 'application/json': { schema: errorSchema, example } } }
  }
  for (const [status, answer] of Object.entries(one.answers)) {
    const refused = answer.schema === undefined && Number(status) >= 400
    const schema = refused ? errorSchema : answer.schema
    const example = refused ? errorExample(Number(status), answer.description) : answer.example
    responses[status] = {
      description: answer.description,
      ...(schema ? { content: { [answer.media_type ?? 'application/json']: content(schema, example) } } : {}),
    }
  }
  app.openAPIRegistry.registerPath({
    method: one.method,
    path: `${prefix}${one.path}`,
    tags: [one.tag],
    summary: one.summary,
    description: [one.description, one.role === null ? 'Needs no key.' : `Needs role \`${one.role}\` or above.`]
      .filter((line) => line !== undefined)
      .join('\n\n'),
    ...(one.role === null ? { security: [] } : { security: [{ api_key: [] }] }),
    request: {
      ...(one.params ? { params: one.params } : {}),
      ...(one.query ? { query: one.query } : {}),
      ...(one.headers ? { headers: one.headers } : {}),
      ...(one.body
        ? {
            body: {
              required: !one.body_optional,
              content: Object.fromEntries(MEDIA_TYPES.map((type) => [type, content(one.body, one.body_example)])),
            },
          }
        : {}),
    },
    responses: responses as never,
  })
}

const REFUSALS: Record<number, string> = {
  400: 'Not acceptable; `details` names every field',
  401: 'No key, or an unknown one',
  403: 'The role does not allow it, or the tenant is suspended',
  408: 'The body arrived too slowly',
  413: 'Too large',
  429: 'Too many requests of this tenant or key, or too many bytes of them at once; `Retry-After` says when to try again',
  500: 'A fault of ours; the cause is in the log under `request_id`',
  503: 'Not just now; try again',
}
