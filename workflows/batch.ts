// A batch: lets its distributions go, page by page, watches them by their rows, tells its owner once all are final. They
// are ordinary distributions with runs of their own; nothing in here is lost with this run.
import {
  CancellationScope,
  condition,
  continueAsNew,
  defineSignal,
  proxyActivities,
  setHandler,
  workflowInfo,
} from '@temporalio/workflow'
import type { BackgroundActivities } from '../activities/background.ts'
import { type BatchRef, LOOK_SIGNAL } from './messages.ts'
import { backgroundQueue } from './names.ts'

const lookSignal = defineSignal(LOOK_SIGNAL)

/** A step leaves about ten events; a run's history stays small. */
const STEPS_PER_RUN = 50

export async function batch(ref: BatchRef): Promise<void> {
  const taskQueue = backgroundQueue(workflowInfo().taskQueue)
  const { batchStep } = proxyActivities<Pick<BackgroundActivities, 'batchStep'>>({
    taskQueue,
    startToCloseTimeout: '10 min',
    heartbeatTimeout: '30 s',
    // Before the callbacks, which share this queue and may hang by the thousand.
    priority: { priorityKey: 2, fairnessKey: ref.tenant_id },
    retry: { initialInterval: '1 s', backoffCoefficient: 2, maximumInterval: '30 s' },
  })
  const { batchCallback } = proxyActivities<Pick<BackgroundActivities, 'batchCallback'>>({
    taskQueue,
    startToCloseTimeout: '30 s',
    priority: { priorityKey: 3, fairnessKey: ref.tenant_id },
    retry: { initialInterval: '5 s', backoffCoefficient: 2, maximumInterval: '1 min' },
  })
  let look = false
  let cancelled = false
  setHandler(lookSignal, () => {
    look = true
  })
  CancellationScope.current().cancelRequested.catch(() => {
    look = true
    cancelled = true
  })
  // A cancellation from Temporal's UI cancels the batch; it must not end this code.
  await CancellationScope.nonCancellable(async () => {
    for (let steps = 0; steps < STEPS_PER_RUN || look; steps += 1) {
      look = false
      const step = await batchStep(cancelled ? { ...ref, cancelled } : ref)
      if (step.done) {
        if (step.callback) await batchCallback(ref)
        return
      }
      if (step.wait_ms > 0) await condition(() => look, step.wait_ms)
    }
    await continueAsNew<typeof batch>(ref)
  })
}
