// The activities of the background queue, with the one set of options that they share.
import { type ActivityOptions, proxyActivities, workflowInfo } from '@temporalio/workflow'
import type { BackgroundActivities } from '../activities/background.ts'
import { backgroundQueue } from './names.ts'

/** Priority keys of the queue. Webhooks come last, because thousands of them may hang. */
export const URGENCY = { awaited: 1, work: 2, webhook: 3 } as const

/** `tenantId`: the tenant to which Temporal's fairness counts the activity; undefined for work for all tenants. */
export function background(
  tenantId: string | undefined,
  urgency: keyof typeof URGENCY,
  options: Omit<ActivityOptions, 'taskQueue' | 'priority'> = {},
) {
  return proxyActivities<BackgroundActivities>({
    taskQueue: backgroundQueue(workflowInfo().taskQueue),
    startToCloseTimeout: '30 s',
    priority: { priorityKey: URGENCY[urgency], ...(tenantId === undefined ? {} : { fairnessKey: tenantId }) },
    retry: { initialInterval: '1 s', backoffCoefficient: 2, maximumInterval: '30 s' },
    ...options,
  })
}
