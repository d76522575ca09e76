// Sends the distributions of a retry batch again.

import type { BatchRow } from '../../db/batches/batches.ts'
import { closeItem, itemWaits, type WaitingItem, waitingItems } from '../../db/batches/items.ts'
import { requestRetry } from '../../db/distributions/commands.ts'
import { refOf } from '../../db/distributions/job-id.ts'
import { lockJob } from '../../db/distributions/plan.ts'
import { writeAudit } from '../../db/tenants/audit.ts'
import type { About } from '../../workflows/messages.ts'
import { alone } from './isolate.ts'
import { type Begun, inChunks, LONGEST_WAIT_MS, PAGE, type Step } from './step.ts'

/** The next page waits as long as this one took, so that a batch of thousands leaves half of the time to other tenants. */
function nextPage(began: number): Begun {
  return { wait_ms: Math.min(LONGEST_WAIT_MS, Math.ceil(performance.now() - began)) }
}

/** Resends the next items, each in a transaction that also closes the item: a repeated step sends none twice. */
export async function retryPage(step: Step, batch: BatchRow): Promise<Begun> {
  const began = performance.now()
  const { destinations, force = false, timeout_seconds } = batch.options.retry ?? {}
  const items = await step.as((db) => waitingItems(db, batch.id, PAGE))
  await inOrder(step, batch, items, async ({ position, job_id, round }) => {
    const retried = await step.as(async (db): Promise<About | null> => {
      const job = await lockJob(db, job_id)
      if (!job) {
        await closeItem(db, batch.id, position, 'skipped', 'the distribution is no longer kept')
        return null
      }
      if (!(await itemWaits(db, batch.id, position))) return null
      const up_to_round = round ?? undefined
      const outcome = await requestRetry(db, job_id, { destinations, force, timeout_seconds, up_to_round })
      if (outcome.outcome !== 'reset') {
        const retriedBefore = round !== null && job.round > round && outcome.outcome === 'nothing'
        await closeItem(db, batch.id, position, 'skipped', retriedBefore ? RETRIED_BEFORE : SKIPPED[outcome.outcome])
        return null
      }
      await closeItem(db, batch.id, position, 'started')
      await writeAudit(db, {
        tenant_id: batch.tenant_id,
        actor: batch.actor,
        action: 'retry',
        resource_type: 'distribution_job',
        resource_id: job_id,
        details: { round: outcome.round, force, batch_id: batch.id },
        request_id: batch.request_id,
      })
      return outcome
    })
    if (!retried) return
    const job = refOf({ tenant_id: batch.tenant_id, id: job_id })
    await step.runs.signalRetry(job, retried).catch((error: unknown) => {
      step.deps.logger.warn({ err: error, ...job }, 'a retry of a batch was not begun; the sweep will find it')
    })
  })
  return items.length === PAGE ? nextPage(began) : 'all'
}

const RETRIED_BEFORE = 'it was sent again meanwhile'
const SKIPPED = {
  missing: 'the distribution is no longer kept',
  cancelling: 'a cancel is under way',
  nothing: 'there was nothing to retry',
}

/** Runs `work` on each item, a few at once, but one after another for items with the same ordering key. */
async function inOrder(
  step: Step,
  batch: BatchRow,
  items: WaitingItem[],
  work: (item: WaitingItem) => Promise<void>,
): Promise<void> {
  const rows = new Map<string | number, WaitingItem[]>()
  for (const item of items) {
    const row = item.ordering_key ?? item.position
    rows.set(row, [...(rows.get(row) ?? []), item])
  }
  const failed: unknown[] = []
  await inChunks([...rows.values()], step.beat, async (row) => {
    try {
      for (const item of row) {
        step.beat()
        await alone(step, batch, item, () => work(item))
      }
    } catch (error) {
      failed.push(error)
    }
  })
  // Thrown last, because the failure of one item must not stop the others of the page.
  if (failed.length > 0) throw failed[0]
}
