// The context of a request, and what the API needs from its process.

import type { Logger } from 'pino'
import type { Registry } from 'prom-client'
import type { Egress } from '../../activities/destinations/network/egress.ts'
import type { Metrics } from '../../activities/metrics.ts'
import type { Shaper } from '../../activities/shaping/shaper.ts'
import type { Pool } from '../../db/pool.ts'
import type { Sealer } from '../../db/secrets.ts'
import type { Role } from '../../db/states.ts'
import type { Dispatcher } from '../../workflows/client.ts'

/** Who sends the request: tenant and role of the key. `actor` is the name for the audit log, never the key itself. */
export interface Caller {
  tenant_id: string
  role: Role
  actor: string
}

/** Why the API refused a request that may be valid, for `zenia_distribution_api_refusals_total`. */
export type Refusal =
  | 'unauthenticated'
  | 'unknown_keys'
  | 'forbidden'
  | 'too_large'
  | 'too_slow'
  | 'rate_limit'
  | 'tenant_busy'
  | 'overload'
  | 'unavailable'

/** The metrics that the API counts itself. `apiRefusals`: `tenant_id` is empty if the key is missing or unknown. */
export type ApiMetrics = Pick<
  Metrics,
  'tenant' | 'accepted' | 'requests' | 'latency' | 'attempts' | 'apiSeconds' | 'apiRefusals'
>

/** How long a body may take to arrive. */
export interface UploadTimes {
  whole_ms: number
  window_ms: number
}

/** The parts that the API needs from its process. Nothing in `api/` reads the environment. */
export interface AppDeps {
  pool: Pool
  dispatcher: Dispatcher
  sealer: Sealer
  egress: Egress
  shaper: Shaper
  logger: Logger
  registry: Registry
  metrics: ApiMetrics
  /** `upload`: time limits of a body, for tests. */
  limits: { max_body_bytes: number; upload?: UploadTimes }
  version: string
  /** False while the process waits for its database at the start: requests that need it get a 503 at once. */
  databaseFound?: () => boolean
}

/** Hono's variables of one request. */
export interface ApiEnv {
  Variables: {
    request_id: string
    log: Logger
    /** The path template, for the log line; real paths contain ids and would be unbounded. */
    route: string
    caller: Caller | undefined
    distribution_id: string | undefined
    error_code: string | undefined
    refusal: Refusal | undefined
    /** The address that sent an unknown key. */
    address: string | undefined
    /** Why the database was not available, for the log line. */
    unavailable: string | undefined
  }
}
