// One time of a recurring distribution: makes its distribution, and stays until that is final where the next time has to
// know (every overlap policy but allow_all).
import { defineSearchAttributeKey, SearchAttributeType } from '@temporalio/common'
import { patched, proxyActivities, sleep, workflowInfo } from '@temporalio/workflow'
import type { BackgroundActivities } from '../activities/background.ts'
import type { RecurringRef } from './messages.ts'
import { backgroundQueue } from './names.ts'

/** Set by Temporal: the time that the schedule meant, whenever it came to it. */
const SCHEDULED = defineSearchAttributeKey('TemporalScheduledStartTime', SearchAttributeType.DATETIME)
const LONGEST_MS = 900_000

export async function recur(ref: RecurringRef): Promise<void> {
  const info = workflowInfo()
  const { fire, isFinal, untilFinal } = proxyActivities<Pick<BackgroundActivities, 'fire' | 'isFinal' | 'untilFinal'>>({
    taskQueue: backgroundQueue(info.taskQueue),
    startToCloseTimeout: '30 s',
    // Before the callbacks, which share this queue and may hang by the thousand.
    priority: { priorityKey: 2, fairnessKey: ref.tenant_id },
    retry: { initialInterval: '1 s', backoffCoefficient: 2, maximumInterval: '30 s' },
  })
  const at = info.typedSearchAttributes.get(SCHEDULED) ?? info.startTime
  const { distribution_id, wait } = await fire({ ...ref, at: at.toISOString(), begun: info.startTime.toISOString() })
  if (distribution_id === null || !wait) return
  if (patched('until-final')) return await untilFinal({ tenant_id: ref.tenant_id, distribution_id })
  for (let pause = 500; ; pause = Math.min(LONGEST_MS, pause * 1.5)) {
    await sleep(Math.round(pause))
    if (await isFinal({ tenant_id: ref.tenant_id, distribution_id })) return
  }
}
