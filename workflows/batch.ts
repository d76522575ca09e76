// A batch: lets its distributions go, page by page, watches them by their rows, tells its owner once all are final. They
// are ordinary distributions with runs of their own; nothing in here is lost with this run.
import { CancellationScope, condition, continueAsNew, defineSignal, setHandler } from '@temporalio/workflow'
import { background } from './background.ts'
import { type BatchRef, LOOK_SIGNAL } from './messages.ts'

const lookSignal = defineSignal(LOOK_SIGNAL)

/** A step leaves about ten events; a run's history stays small. */
const STEPS_PER_RUN = 50

export async function batch(ref: BatchRef): Promise<void> {
  const { batchStep } = background(ref.tenant_id, 'work', { startToCloseTimeout: '10 min', heartbeatTimeout: '30 s' })
  const { batchCallback } = background(ref.tenant_id, 'webhook', {
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
