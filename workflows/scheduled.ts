// One time of a schedule: submits its distribution, and stays until that is final where the next time has to know (every
// overlap policy but allow_all).
import { defineSearchAttributeKey, SearchAttributeType } from '@temporalio/common'
import { proxyActivities, workflowInfo } from '@temporalio/workflow'
import type { BackgroundActivities } from '../activities/background.ts'
import type { ScheduleRef } from './messages.ts'
import { backgroundQueue } from './names.ts'

/** Set by Temporal: the time that the schedule meant, whenever it came to it. */
const SCHEDULED = defineSearchAttributeKey('TemporalScheduledStartTime', SearchAttributeType.DATETIME)

export async function scheduled(ref: ScheduleRef): Promise<void> {
  const info = workflowInfo()
  const { submitScheduled, untilFinal } = proxyActivities<Pick<BackgroundActivities, 'submitScheduled' | 'untilFinal'>>(
    {
      taskQueue: backgroundQueue(info.taskQueue),
      startToCloseTimeout: '30 s',
      // Before the callbacks, which share this queue and may hang by the thousand.
      priority: { priorityKey: 2, fairnessKey: ref.tenant_id },
      retry: { initialInterval: '1 s', backoffCoefficient: 2, maximumInterval: '30 s' },
    },
  )
  const at = info.typedSearchAttributes.get(SCHEDULED) ?? info.startTime
  const { distribution_id, wait } = await submitScheduled({
    ...ref,
    at: at.toISOString(),
    begun: info.startTime.toISOString(),
  })
  if (distribution_id !== null && wait) await untilFinal({ tenant_id: ref.tenant_id, distribution_id })
}
