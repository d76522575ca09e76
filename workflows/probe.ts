// Tests a registered destination now, on a worker: what the API asks for by `POST /destinations/{id}/test`, and its
// schedule at intervals.
import { proxyActivities, workflowInfo } from '@temporalio/workflow'
import type { BackgroundActivities } from '../activities/background.ts'
import type { ProbeResult } from '../db/destinations/health-checks.ts'
import type { ProbeInput } from './messages.ts'
import { backgroundQueue } from './names.ts'

export async function probe(input: ProbeInput): Promise<ProbeResult> {
  const activities = proxyActivities<Pick<BackgroundActivities, 'probe'>>({
    taskQueue: backgroundQueue(workflowInfo().taskQueue),
    startToCloseTimeout: '15 s',
    // Somebody waits for the answer; callbacks, which share this queue, may hang by the thousand.
    priority: { priorityKey: input.scheduled ? 3 : 1, fairnessKey: input.tenant_id },
    scheduleToCloseTimeout: '15 s',
    retry: { maximumAttempts: 1 },
  })
  return await activities.probe(input)
}
