// What a request carries through the API, and what the API is given when it is made.

import type { Logger } from 'pino'
import type { Counter, Histogram, Registry } from 'prom-client'
import type { Egress } from '../../activities/destinations/network/egress.ts'
import type { Shaper } from '../../activities/shaping/shaper.ts'
import type { Pool } from '../../db/pool.ts'
import type { Sealer } from '../../db/secrets.ts'
import type { Role } from '../../db/states.ts'
import type { Dispatcher } from '../../workflows/client.ts'

/** Who asks: the key's tenant and role. `actor` is the word for the audit log, never the key itself. */
export interface Caller {
  tenant_id: string
  role: Role
  actor: string
}

/** The numbers that the API itself counts; the rest of the registry is the process's. */
export interface ApiMetrics {
  /** `zenia_distribution_requests_total`: submissions, `status` `accepted`, `duplicate` or `rejected`. */
  requests: Counter<'tenant_id' | 'data_type' | 'status'>
  /** `zenia_distribution_latency_seconds`: of what the API itself ends. */
  latency: Histogram
  /** `zenia_distribution_api_refusals_total`: requests answered with 429. */
  apiRefusals: Counter<'tenant_id'>
}

/** How long a body may take to arrive. */
export interface UploadTimes {
  whole_ms: number
  window_ms: number
}

/** All that the API needs from its process. Nothing in `api/` reads the environment. */
export interface AppDeps {
  pool: Pool
  dispatcher: Dispatcher
  sealer: Sealer
  egress: Egress
  shaper: Shaper
  logger: Logger
  registry: Registry
  metrics: ApiMetrics
  /** `upload`: how long a body may take, where a test has other times. */
  limits: { max_body_bytes: number; upload?: UploadTimes }
  version: string
  /** False while the process still waits for its database: nothing is asked of it, and whoever needs it gets a 503. */
  databaseFound?: () => boolean
}

/** Hono's variables of one request. */
export interface ApiEnv {
  Variables: {
    request_id: string
    log: Logger
    /** The path template, for the log line; an id in there would make it unbounded. */
    route: string
    caller: Caller | undefined
    distribution_id: string | undefined
    error_code: string | undefined
    /** Where a wrong key came from. */
    address: string | undefined
  }
}
