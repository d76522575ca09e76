// Resumes the deliveries that wait for a destination which has recovered, page by page.
import { continueAsNew, defineSignal, setHandler, sleep } from '@temporalio/workflow'
import type { ResumeRef } from '../db/distributions/resume.ts'
import { background } from './background.ts'
import { REREAD_SIGNAL, type ResumeStep } from './messages.ts'

const STEPS_PER_RUN = 500

export async function resume(ref: ResumeRef): Promise<void> {
  const { resumeStep } = background(ref.tenant_id, 'work')
  // The destination has recovered again: deliveries that were deferred meanwhile must be resumed too.
  let again = false
  setHandler(defineSignal(REREAD_SIGNAL), () => {
    again = true
  })
  let window: number | undefined
  for (let steps = 0; steps < STEPS_PER_RUN; steps += 1) {
    again = false
    const step: ResumeStep = await resumeStep(ref, steps, window)
    window = step.window
    if (!step.more && !again) return
    await sleep('1 s')
  }
  await continueAsNew<typeof resume>(ref)
}
