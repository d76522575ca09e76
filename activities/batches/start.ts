// Releases the distributions of a batch, page by page or one after another.
import { setTimeout as sleep } from 'node:timers/promises'
import type { BatchRow } from '../../db/batches/batches.ts'
import {
  closeItem,
  expiredItems,
  openItems,
  type Released,
  type ReleasedJob,
  releaseBatchPage,
  waitingItems,
} from '../../db/batches/items.ts'
import { refOf } from '../../db/distributions/job-id.ts'
import { peekJob } from '../../db/distributions/jobs.ts'
import { isDataRefused, isRowAtFault } from '../../db/refused.ts'
import { isFinal } from '../../db/states.ts'
import { alone, eachAlone } from './isolate.ts'
import { AT_ONCE, type Begun, endByRow, PAGE, type Step, waitFor } from './step.ts'

/** A step that sends one item after another gives up its slot after this time. */
const STEP_MS = 5000
/** It waits in its slot for an item that ends within this time; for a longer one it returns and is called again. */
const SOON_MS = 1000

/** Starts a few at a time, then pauses for the same time, which is left to other distributions. */
export async function startPage(step: Step, batch: BatchRow): Promise<Begun> {
  for (let begun = 0; begun < PAGE; begun += AT_ONCE) {
    const began = performance.now()
    const { taken, released } = await release(step, batch, AT_ONCE)
    await startRuns(step, released)
    if (taken < AT_ONCE) return 'all'
    step.beat()
    await sleep(Math.min(SOON_MS, performance.now() - began))
  }
  return 'more'
}

/**
 * Releases the next distributions, `limit` at most, in one statement. If the database refuses one of the rows, they are
 * released one by one, so that only the refused one ends.
 */
async function release(step: Step, batch: BatchRow, limit: number): Promise<Released> {
  try {
    return await step.as((db) => releaseBatchPage(db, batch.id, limit))
  } catch (error) {
    if (!isRowAtFault(error)) throw error
  }
  const items = await step.as((db) => waitingItems(db, batch.id, limit))
  const released: ReleasedJob[] = []
  for (const item of items) {
    await alone(step, batch, item, async () => {
      released.push(...(await step.as((db) => releaseBatchPage(db, batch.id, 1, item.position))).released)
    })
  }
  return { taken: items.length, released }
}

/**
 * Starts the runs of the released distributions. If a start fails, the sweep starts that run after a minute.
 */
async function startRuns({ runs, deps, ref }: Step, jobs: ReleasedJob[]): Promise<void> {
  await Promise.all(
    jobs.map(async ({ id, ...about }) => {
      const job = refOf({ tenant_id: ref.tenant_id, id })
      await runs.start(job, about).catch((error: unknown) => {
        deps.logger.warn({ err: error, ...job }, 'a distribution of a batch was not started; the sweep will find it')
      })
    }),
  )
}

/** Releases one distribution at a time: the next when the previous one is final. */
export async function startOneByOne(step: Step, batch: BatchRow): Promise<Begun> {
  const until = performance.now() + STEP_MS
  let [open] = await step.as((db) => openItems(db, batch.id, 1))
  for (let wait = 10; performance.now() < until; ) {
    step.beat()
    const job_id = open?.job_id
    const now = job_id === undefined ? null : await step.as((db) => peekJob(db, job_id))
    if (now && !isFinal(now.status)) {
      if (Math.abs(now.due_in_ms) > SOON_MS) {
        await endExpired(step, batch)
        // A part of the time that it has taken so far: an item that takes minutes is checked every few seconds.
        return { wait_ms: waitFor(now.due_in_ms > 0 ? now.due_in_ms : -now.due_in_ms / 5) }
      }
      await sleep(wait)
      wait = Math.min(250, wait * 1.5)
      continue
    }
    if (now?.status === 'failed' && batch.options.fail_fast) return 'more'
    const { taken, released } = await release(step, batch, 1)
    if (taken === 0) return 'all'
    await startRuns(step, released)
    const [next] = released
    open = next
      ? { job_id: next.id, round: 1 }
      : // It was cancelled while it waited, or another step has just released it.
        (await step.as((db) => openItems(db, batch.id, 1)))[0]
    wait = 10
  }
  return 'more'
}

/** Items that wait behind a slow one end at their own expiry; nothing else checks them while they wait. */
async function endExpired(step: Step, batch: BatchRow): Promise<void> {
  const items = await step
    .as((db) => expiredItems(db, batch.id, PAGE))
    .catch((error: unknown) => {
      // One item has a time that the database cannot read. It ends when it is released, and so do the other expired ones.
      if (isDataRefused(error)) return []
      throw error
    })
  await eachAlone(step, batch, items, async ({ position, job_id }) => {
    await endByRow(step, job_id, { round: 1, cause: 'expired' })
    await step.as((db) => closeItem(db, batch.id, position, 'started'))
  })
}
