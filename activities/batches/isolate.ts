// An item that fails must not stop the others of its batch: it alone is ended, with a reason.

import { type BatchRow, findBatch, publicBatchId } from '../../db/batches/batches.ts'
import { closeItem } from '../../db/batches/items.ts'
import { publicId } from '../../db/distributions/job-id.ts'
import { isRowAtFault, refusalText } from '../../db/refused.ts'
import { countEvent } from '../../db/webhooks/event-windows.ts'
import { endByRow, inChunks, type Step } from './step.ts'

/** An item that fails for an unknown reason is ended in this try of the step, if the database answers otherwise. */
const MAX_TRIES = 5

interface Item {
  position: number
  job_id: string
}

/** Runs `work` on each item, a few at once. If one fails, the others are handled before the error is thrown. */
export async function eachAlone<T extends Item>(
  step: Step,
  batch: BatchRow,
  items: T[],
  work: (item: T) => Promise<void>,
): Promise<void> {
  const failed: unknown[] = []
  await inChunks(items, step.beat, async (item) => {
    try {
      await alone(step, batch, item, () => work(item))
    } catch (error) {
      failed.push(error)
    }
  })
  if (failed.length > 0) throw failed[0]
}

/** Runs `work` on one item. An error of the item itself ends the item; any other error is thrown, and the step is retried. */
export async function alone(step: Step, batch: BatchRow, item: Item, work: () => Promise<void>): Promise<void> {
  try {
    await work()
  } catch (error) {
    if (!isRowAtFault(error) && !(step.attempt >= MAX_TRIES && (await answers(step, batch)))) throw error
    await reject(step, batch, item, error)
  }
}

/** Whether the database answers at all: if not, the error says nothing about the item. */
async function answers(step: Step, batch: BatchRow): Promise<boolean> {
  return await step
    .as((db) => findBatch(db, batch.id))
    .then(
      () => true,
      () => false,
    )
}

async function reject(step: Step, batch: BatchRow, { position, job_id }: Item, error: unknown): Promise<void> {
  const { deps, ref } = step
  const reason = refusalText(error)
  const ids = { batch_id: publicBatchId(batch.id), distribution_id: publicId(job_id) }
  deps.logger.error({ err: error, tenant_id: ref.tenant_id, ...ids }, 'one item of a batch was given up')
  if (batch.kind === 'submit') {
    const message = `The distribution could not be started: ${reason}`
    // A row that cannot be changed at all keeps its state; its item says why.
    const { batch_id } = ids
    const request = { round: 1, cause: 'given_up', code: 'UNEXPECTED', reason: message, batch_id } as const
    const ended = await endByRow(step, job_id, request).catch((error: unknown) => {
      if (!isRowAtFault(error)) throw error
      return null
    })
    await step.as((db) => closeItem(db, batch.id, position, ended ? 'started' : 'skipped', message))
    if (ended) return
  } else {
    await step.as((db) => closeItem(db, batch.id, position, 'skipped', `it could not be sent again: ${reason}`))
  }
  await step.as((db) => countEvent(db, ref.tenant_id, 'distributions.failed', 'UNEXPECTED', { ...ids, reason }))
}
