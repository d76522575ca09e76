// Wakes the deliveries that wait for a destination which has recovered, page by page.
import { continueAsNew, defineSignal, setHandler, sleep } from '@temporalio/workflow'
import type { WakeRef } from '../db/distributions/wake.ts'
import { background } from './background.ts'
import { LOOK_SIGNAL, type WakeStep } from './messages.ts'

const STEPS_PER_RUN = 500

export async function wake(ref: WakeRef): Promise<void> {
  const { wakeStep } = background(ref.tenant_id, 'work')
  // It has recovered once more: what was put off in between is to be woken too.
  let asked = false
  setHandler(defineSignal(LOOK_SIGNAL), () => {
    asked = true
  })
  let window: number | undefined
  for (let steps = 0; steps < STEPS_PER_RUN; steps += 1) {
    asked = false
    const step: WakeStep = await wakeStep(ref, steps, window)
    const { more } = step
    window = step.window
    if (!more && !asked) return
    await sleep('1 s')
  }
  await continueAsNew<typeof wake>(ref)
}
