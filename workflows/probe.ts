// Tests a registered destination now, on a worker: what the API asks for by `POST /destinations/{id}/test`, and its
// schedule at intervals.
import type { ProbeResult } from '../db/destinations/health-checks.ts'
import { background } from './background.ts'
import type { ProbeInput } from './messages.ts'

export async function probe(input: ProbeInput): Promise<ProbeResult> {
  // Somebody waits for the answer, unless it is the schedule's.
  return await background(input.tenant_id, input.scheduled ? 'webhook' : 'awaited', {
    startToCloseTimeout: '15 s',
    scheduleToCloseTimeout: '15 s',
    retry: { maximumAttempts: 1 },
  }).probe(input)
}
