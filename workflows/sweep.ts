// Finds what nobody works at: jobs without a run, orders to cancel without a signal, callbacks without a sender.
import { proxyActivities, workflowInfo } from '@temporalio/workflow'
import type { BackgroundActivities } from '../activities/background.ts'
import type { SweepInput } from './messages.ts'
import { backgroundQueue } from './names.ts'

export async function sweep(input: SweepInput): Promise<void> {
  await background().sweep(input)
}

/** Keeps the database in shape: partitions made ahead, views refreshed. */
export async function maintain(): Promise<void> {
  await background().maintain()
}

function background() {
  return proxyActivities<Pick<BackgroundActivities, 'sweep' | 'maintain'>>({
    taskQueue: backgroundQueue(workflowInfo().taskQueue),
    startToCloseTimeout: '30 min',
    // Before the callbacks, which share this queue and may hang by the thousand.
    priority: { priorityKey: 1 },
    heartbeatTimeout: '1 min',
    retry: { initialInterval: '1 s', backoffCoefficient: 2, maximumInterval: '1 min', maximumAttempts: 5 },
  })
}
