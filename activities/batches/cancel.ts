// Cancels the open distributions of a batch, after a cancel or a failure with fail_fast.

import type { BatchRow } from '../../db/batches/batches.ts'
import { closeItem, openItems, waitingItems } from '../../db/batches/items.ts'
import { requestCancel } from '../../db/distributions/commands.ts'
import { refOf } from '../../db/distributions/job-id.ts'
import { eachAlone } from './isolate.ts'
import { endByRow, inChunks, PAGE, type Step } from './step.ts'

/** Cancels the rows of distributions that have not been started, and signals the runs of the others. */
export async function cancelRest(step: Step, batch: BatchRow): Promise<void> {
  const reason = batch.cancel_reason ?? 'cancelled'
  for (;;) {
    const items = await step.as((db) => waitingItems(db, batch.id, PAGE))
    if (items.length === 0) break
    await eachAlone(step, batch, items, async ({ position, job_id }) => {
      if (batch.kind === 'retry') {
        await step.as((db) => closeItem(db, batch.id, position, 'skipped', 'the batch was cancelled'))
        return
      }
      await endByRow(step, job_id, { round: 1, cause: 'cancelled', reason })
      await step.as((db) => closeItem(db, batch.id, position, 'started'))
    })
  }
  for (;;) {
    const open = await step.as((db) => openItems(db, batch.id, PAGE, true))
    if (open.length === 0) break
    await inChunks(open, step.beat, async ({ job_id }) => {
      const asked = await step.as((db) => requestCancel(db, job_id, reason))
      if (asked.outcome !== 'requested') return
      const job = refOf({ tenant_id: batch.tenant_id, id: job_id })
      await step.runs.signalCancel(job, asked)
    })
  }
}
