// One route: its schemas, the role it asks for, and what it does. The same object is the check and the documentation.
import type { Context } from 'hono'
import type { z } from 'zod'
import type { RuleCache } from '../../activities/rules/rule-cache.ts'
import type { Db } from '../../db/pool.ts'
import type { Role } from '../../db/states.ts'
import type { AuditEvent } from '../../db/tenants/audit.ts'
import type { BulkQueue } from '../submission/bulk-queue.ts'
import type { KeyLookup } from './auth.ts'
import type { ApiEnv, AppDeps, Caller } from './context.ts'
import type { JsonForm, ParsedJson } from './json.ts'

/** What the process hands in, and what the API makes for itself once. */
export interface ApiDeps extends AppDeps {
  keys: KeyLookup
  bulkQueue: BulkQueue
  rules: RuleCache
}

/** A decoded body: the bytes after gunzip, and what they say. `value` is undefined when the request had no body. */
export interface RequestBody extends ParsedJson {
  bytes: Buffer
}

/** What was done, and to what. The tenant is the caller's unless another one is given. */
export type Deed = Pick<AuditEvent, 'action' | 'resource_type' | 'resource_id' | 'details'> & { tenant_id?: string }

export interface Request<Params = unknown, Query = unknown, Body = unknown> {
  c: Context<ApiEnv>
  deps: ApiDeps
  /** Undefined only where the endpoint asks for no role. */
  caller: Caller
  request_id: string
  params: Params
  query: Query
  body: Body
  raw: RequestBody
  /** Runs `work` in one transaction that sees the rows of the caller's tenant alone. */
  transaction<T>(work: (db: Db) => Promise<T>): Promise<T>
  /** Writes to the audit log what the caller did; call it in the transaction that does it. */
  audit(db: Db, deed: Deed): Promise<void>
}

export interface Answer {
  description: string
  schema?: z.ZodType
  example?: unknown
  /** Of an answer that is not JSON. */
  media_type?: string
}

export type Answers = Record<number, Answer>

/** What a handler may answer: a status of its endpoint, with a body as that status's schema describes it. */
export type Reply<A extends Answers> = {
  [Status in keyof A]: A[Status] extends { schema: infer Schema extends z.ZodType }
    ? { status: Status; body: z.output<Schema>; headers?: Record<string, string> }
    : Status extends 204
      ? { status: Status }
      : never
}[keyof A]

export interface SentReply {
  status: number
  /** Absent with a 204. */
  body?: unknown
  headers?: Record<string, string>
}

type Output<T> = T extends z.ZodType ? z.output<T> : undefined

interface Description<
  Params extends z.ZodObject | undefined,
  Query extends z.ZodObject | undefined,
  Body extends z.ZodType | undefined,
  A extends Answers,
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
  /** The documentation of the body, where the handler checks more than `body` does. */
  body_documentation?: z.ZodType
  body_example?: unknown
  /** An empty body counts as `{}`. */
  body_optional?: boolean
  /** How the body is read, where it is not a submission's form. */
  body_form?: JsonForm
  /** In bytes; 1 MiB when absent, and never above the API's own limit. */
  max_body_bytes?: number
  answers: A
}

/** An endpoint as a list of them knows it: without the types that its handler was checked with. */
export interface Endpoint
  extends Description<z.ZodObject | undefined, z.ZodObject | undefined, z.ZodType | undefined, Answers> {
  // biome-ignore lint/suspicious/noExplicitAny: each handler has types of its own
  handle(request: Request<any, any, any>): Promise<SentReply>
}

/** Describes an endpoint; its handler sees exactly what the schemas let through, and answers what they describe. */
export function endpoint<
  A extends Answers,
  Params extends z.ZodObject | undefined = undefined,
  Query extends z.ZodObject | undefined = undefined,
  Body extends z.ZodType | undefined = undefined,
>(description: Description<Params, Query, Body, A>) {
  return {
    handle(handle: (request: Request<Output<Params>, Output<Query>, Output<Body>>) => Promise<Reply<A>>): Endpoint {
      return { ...description, handle: handle as Endpoint['handle'] }
    },
  }
}
