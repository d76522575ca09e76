// A batch: starts its distributions page by page, watches their rows, and sends its callback once all are final. Each
// distribution has its own run. All state is in the rows, so this run can be lost.
import { CancellationScope, condition, continueAsNew, defineSignal, setHandler } from '@temporalio/workflow'
import { background } from './background.ts'
import { type BatchRef, REREAD_SIGNAL } from './messages.ts'

const rereadSignal = defineSignal(REREAD_SIGNAL)

/** A step adds about ten events, so the history of a run stays small. */
const STEPS_PER_RUN = 50

export async function batch(ref: BatchRef): Promise<void> {
  const { batchStep } = background(ref.tenant_id, 'work', { startToCloseTimeout: '10 min', heartbeatTimeout: '30 s' })
  let changed = false
  let cancelled = false
  setHandler(rereadSignal, () => {
    changed = true
  })
  CancellationScope.current().cancelRequested.catch(() => {
    changed = true
    cancelled = true
  })
  // A cancellation in Temporal's UI cancels the batch. It must not end this code.
  await CancellationScope.nonCancellable(async () => {
    for (let steps = 0; steps < STEPS_PER_RUN || changed; steps += 1) {
      changed = false
      const step = await batchStep(cancelled ? { ...ref, cancelled } : ref)
      if (step.done) return
      if (step.wait_ms > 0) await condition(() => changed, step.wait_ms)
    }
    await continueAsNew<typeof batch>(ref)
  })
}
