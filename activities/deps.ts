// The dependencies of the activities. Each worker creates them once and passes them in, so that tests can replace every part.

import type { Logger } from 'pino'
import type { Pool } from '../db/pool.ts'
import type { Sealer } from '../db/secrets.ts'
import type { Protocol } from '../db/states.ts'
import type { Runs } from '../workflows/client.ts'
import type { Backoff } from './delivery/backoff.ts'
import type { Payloads } from './delivery/payloads.ts'
import type { WorkerSlots } from './delivery/worker-slots.ts'
import type { Egress } from './destinations/network/egress.ts'
import type { Metrics } from './metrics.ts'
import type { Shaper } from './shaping/shaper.ts'
import type { Timing } from './timing.ts'
import type { Usage } from './usage.ts'

export interface ActivityDeps {
  pool: Pool
  sealer: Sealer
  egress: Egress
  logger: Logger
  metrics: Metrics
  usage: Usage
  payloads: Payloads
  /** Slots for deliveries. */
  slots: WorkerSlots
  /** Slots for callbacks and batches. */
  backgroundSlots: WorkerSlots
  shaper: Shaper
  timing: Timing
  /** The delays between the attempts of a delivery. */
  backoffFor: (protocol: Protocol, configuration: Record<string, unknown>) => Backoff
  /** Identity of this worker in the attempt's row. */
  worker: string
  /** Credentials given by the environment, by full name. */
  environmentSecrets: Record<string, string>
  /** Returns undefined while Temporal has not answered yet. */
  runs: () => Runs | undefined
}
