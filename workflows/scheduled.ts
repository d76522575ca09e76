// One run of a schedule: submits its distribution. With every overlap policy but allow_all it also waits until the
// distribution is final.
import { defineSearchAttributeKey, SearchAttributeType } from '@temporalio/common'
import { workflowInfo } from '@temporalio/workflow'
import { background } from './background.ts'
import type { ScheduleRef } from './messages.ts'

/** Set by Temporal: the nominal time of the run, even if it starts late. */
const SCHEDULED = defineSearchAttributeKey('TemporalScheduledStartTime', SearchAttributeType.DATETIME)

export async function scheduled(ref: ScheduleRef): Promise<void> {
  const info = workflowInfo()
  const { submitScheduled, untilFinal } = background(ref.tenant_id, 'work')
  const at = info.typedSearchAttributes.get(SCHEDULED) ?? info.startTime
  const { distribution_id, wait } = await submitScheduled({
    ...ref,
    at: at.toISOString(),
    begun: info.startTime.toISOString(),
  })
  if (distribution_id !== null && wait) await untilFinal({ tenant_id: ref.tenant_id, distribution_id })
}
