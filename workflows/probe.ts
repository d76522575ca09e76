// Tests a registered destination now, on a worker. `POST /destinations/{id}/test` and the schedule of health checks
// start it.
import type { ProbeResult } from '../db/destinations/health-checks.ts'
import { background } from './background.ts'
import type { ProbeInput } from './messages.ts'

export async function probe(input: ProbeInput): Promise<ProbeResult> {
  // A request waits for the result, unless the schedule started it.
  return await background(input.tenant_id, input.scheduled ? 'webhook' : 'awaited', {
    startToCloseTimeout: '15 s',
    scheduleToCloseTimeout: '15 s',
    retry: { maximumAttempts: 1 },
  }).probe(input)
}
