// Tells a tenant's event_url what an operator should know: one workflow per event.
import { proxyActivities, workflowInfo } from '@temporalio/workflow'
import type { BackgroundActivities } from '../activities/background.ts'
import type { EventRef } from './messages.ts'
import { backgroundQueue } from './names.ts'

/** Ends when the receiver has taken the event, or after a day of trying; the row says which. */
export async function announce(ref: EventRef): Promise<void> {
  const activities = proxyActivities<Pick<BackgroundActivities, 'announce'>>({
    taskQueue: backgroundQueue(workflowInfo().taskQueue),
    startToCloseTimeout: '30 s',
    priority: { priorityKey: 3, fairnessKey: ref.tenant_id },
    retry: { initialInterval: '5 s', backoffCoefficient: 2, maximumInterval: '1 min' },
  })
  await activities.announce(ref)
}
