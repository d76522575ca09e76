// Tells a distribution's owner that it has ended: one workflow per time that it ended.
import { proxyActivities, workflowInfo } from '@temporalio/workflow'
import type { BackgroundActivities } from '../activities/background.ts'
import type { NotifyInput } from './messages.ts'
import { backgroundQueue } from './names.ts'

/** Ends when the receiver has taken the callback, or after a day of trying; the row says which. */
export async function notify(input: NotifyInput): Promise<void> {
  const { callback } = proxyActivities<Pick<BackgroundActivities, 'callback'>>({
    taskQueue: backgroundQueue(workflowInfo().taskQueue),
    startToCloseTimeout: '30 s',
    // Whatever the priority of what has ended: nobody's callbacks come before the batches of others.
    priority: { priorityKey: 3, fairnessKey: input.tenant_id },
    retry: { initialInterval: '5 s', backoffCoefficient: 2, maximumInterval: '1 min' },
  })
  await callback(input)
}
