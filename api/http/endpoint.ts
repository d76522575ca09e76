// An endpoint: its schemas, its role and its handler. The same object validates requests and documents them.
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

/** The parts that the process provides, and those that the API creates once for itself. */
export interface ApiDeps extends AppDeps {
  keys: KeyLookup
  bulkQueue: BulkQueue
  rules: RuleCache
}

/** A decoded body: the bytes after decompression, and the parsed JSON. `value` is undefined if there was no body. */
export interface RequestBody extends ParsedJson {
  bytes: Buffer
}

/** An event of the audit log. The tenant is that of the caller unless another one is given. */
export type AuditEntry = Pick<AuditEvent, 'action' | 'resource_type' | 'resource_id' | 'details'> & {
  tenant_id?: string
}

export interface Request<Params = unknown, Query = unknown, Body = unknown> {
  c: Context<ApiEnv>
  deps: ApiDeps
  /** Undefined only if the endpoint needs no role. */
  caller: Caller
  request_id: string
  params: Params
  query: Query
  body: Body
  raw: RequestBody
  /** Runs `work` in one transaction that sees only rows of the caller's tenant. */
  transaction<T>(work: (db: Db) => Promise<T>): Promise<T>
  /** Adds an event to the audit log; call it in the transaction of the change. */
  audit(db: Db, entry: AuditEntry): Promise<void>
}

export interface Answer {
  description: string
  schema?: z.ZodType
  example?: unknown
  /** Absent: JSON. */
  media_type?: string
}

export type Answers = Record<number, Answer>

/** The result of a handler: a status of its endpoint, with a body that matches the schema of this status. */
export type Reply<A extends Answers> = {
  [Status in keyof A]: A[Status] extends { schema: infer Schema extends z.ZodType }
    ? { status: Status; body: z.output<Schema>; headers?: Record<string, string> }
    : Status extends 204
      ? { status: Status }
      : never
}[keyof A]

export interface SentReply {
  status: number
  /** Absent for a 204. */
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
  /** In OpenAPI's form: `/distribution/{id}/status`. */
  path: string
  /** A short name for generated clients, such as `submit`; unique in the API. */
  operation: string
  tag: string
  summary: string
  description?: string
  /** The lowest role that may call it; null if it needs no key. */
  role: Role | null
  params?: Params
  query?: Query
  headers?: z.ZodObject
  body?: Body
  /** The schema in the documentation, if the handler checks more than `body` does. */
  body_documentation?: z.ZodType
  body_example?: unknown
  /** An empty body counts as `{}`. */
  body_optional?: boolean
  /** How to parse a body that is not like a submission. */
  body_form?: JsonForm
  /** In bytes; default 1 MiB, and never above `MAX_BODY_BYTES`. */
  max_body_bytes?: number
  answers: A
}

/** An endpoint in a list, without the types of its handler. */
export interface Endpoint
  extends Description<z.ZodObject | undefined, z.ZodObject | undefined, z.ZodType | undefined, Answers> {
  // biome-ignore lint/suspicious/noExplicitAny: each handler has types of its own
  handle(request: Request<any, any, any>): Promise<SentReply>
}

/** Describes an endpoint. The schemas give the types of the handler's request and of its result. */
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
