// Accepts many distributions: each is checked like a single submission, the valid ones are stored in one transaction, and
// the others are listed with their problems. A request that is interrupted stores nothing, so it can simply be repeated. It
// is limited by the size of the body and by the number of items.

import { createPace } from '../../activities/document/time-slices.ts'
import { OTHER } from '../../activities/metrics.ts'
import { findBatch, insertBatch, newBatchId } from '../../db/batches/batches.ts'
import { batchDistributionIds, insertBatchItems } from '../../db/batches/items.ts'
import { publicId } from '../../db/distributions/job-id.ts'
import {
  addWarnings,
  type DataTypeCheck,
  readSurroundings,
  type SubmissionSurroundings,
} from '../../db/distributions/jobs.ts'
import { type Db, withTenant } from '../../db/pool.ts'
import { knownDestinations } from '../destinations/known.ts'
import type { AppDeps } from '../http/context.ts'
import { type ApiError, invalid } from '../http/errors.ts'
import { checkPayload, NotChecked } from '../rules/catalogue-check.ts'
import { type BulkRequest, checkItem, firstDetails, type Item, type Rejected } from './bulk-items.ts'
import { insertPage, pagesOf, placeItems } from './bulk-rows.ts'
import { claimKey, noLongerKept } from './idempotency.ts'
import { storedIssues } from './submit.ts'

/** Payloads that are checked at once. */
const AT_ONCE = 50
/** If checking the payloads of one request takes longer, none is accepted. */
const CHECKED_MS = 60_000
/** SQLSTATE. */
const DEADLOCK = '40P01'

export interface BulkSubmitted {
  batch_id: string
  total: number
  distribution_ids: string[]
  rejected: Rejected[]
  /** Data types of the distributions that this request has created, for the metrics. */
  created: string[]
  /** The answer to an earlier request with the same key. */
  replayed: boolean
}

/** Checks and stores. Throws a 400 if no item is valid. */
export async function submitBulk(
  deps: Pick<AppDeps, 'pool' | 'egress' | 'shaper'>,
  request: BulkRequest,
): Promise<BulkSubmitted> {
  const rejected: Rejected[] = []
  const items: Item[] = []
  const pace = createPace()
  for (const [index, bytes] of request.items.entries()) {
    await pace()
    const checked = await checkItem(deps, request, index, bytes)
    if ('details' in checked) rejected.push({ index, details: firstDetails(checked.details) })
    else items.push(checked)
  }
  if (items.length === 0) throw noneAccepted(rejected)
  const { tenant_id } = request.caller
  const until = AbortSignal.timeout(CHECKED_MS)
  for (let deadlocks = 0; ; ) {
    try {
      return await withTenant(deps.pool, tenant_id, (db) => store(db, request, items, rejected))
    } catch (error) {
      // Two requests may deadlock if each uses the idempotency keys of the other: one of them is repeated.
      if ((error as { code?: unknown }).code === DEADLOCK && deadlocks++ < 3) continue
      if (!(error instanceof NotChecked)) throw error
      await checkPayloads(deps.shaper, tenant_id, error.by, items, until)
    }
  }
}

/** Checks the payloads of one data type, several at once. */
async function checkPayloads(
  shaper: AppDeps['shaper'],
  tenantId: string,
  by: DataTypeCheck,
  items: Item[],
  until: AbortSignal,
): Promise<void> {
  const own = items.filter(({ submission }) => submission.data_type === by.id)
  for (let from = 0; from < own.length; from += AT_ONCE) {
    await Promise.all(
      own.slice(from, from + AT_ONCE).map(async (item) => {
        const { metadata } = item.submission
        const payload = item.request.body.texts.bytes('payload')!
        item.payload = await checkPayload(shaper, tenantId, by, { payload, metadata }, until)
      }),
    )
  }
}

async function store(db: Db, request: BulkRequest, items: Item[], unfit: Rejected[]): Promise<BulkSubmitted> {
  const { tenant_id } = request.caller
  const claim = request.key === undefined ? null : await claimKey(db, tenant_id, request.key, request.bytes)
  if (claim && !claim.claimed) return await earlierAnswer(db, claim.job_id)
  const batch_id = claim?.job_id ?? (await newBatchId(db))
  const surroundings = await surroundingsOf(db, tenant_id, items)
  const checked = await checkStored(db, items, surroundings)
  const placed = await placeItems(db, tenant_id, checked.items)
  const rejected = [...unfit, ...checked.rejected, ...placed.rejected]
  for (const page of pagesOf(placed.fresh)) rejected.push(...(await insertPage(db, batch_id, page)))
  const refused = new Map(rejected.map((one) => [one.index, one]))
  // Of several items with the same key only the first is stored. If it was rejected, so are the others.
  const lost = new Map(
    placed.fresh.flatMap(({ item, job_id }) => {
      const refusal = refused.get(item.index)
      return refusal ? [[job_id, refusal.details]] : []
    }),
  )
  for (const { item, job_id, fresh } of placed.all) {
    const details = lost.get(job_id)
    if (!fresh && details) rejected.push({ index: item.index, details })
  }
  rejected.sort((one, other) => one.index - other.index)
  const accepted = placed.all.filter(({ job_id }) => !lost.has(job_id))
  if (accepted.length === 0) throw noneAccepted(rejected)
  await insertBatch(db, {
    id: batch_id,
    tenant_id,
    kind: 'submit',
    total_distributions: request.items.length,
    options: {
      parallel_execution: request.options.parallel_execution,
      fail_fast: request.options.fail_fast,
    },
    callback_url: request.options.callback_url ?? null,
    rejected,
    request_id: request.request_id,
    actor: request.caller.actor,
  })
  const warned = placed.fresh.filter(({ job_id }) => !lost.has(job_id))
  await addWarnings(
    db,
    warned.map(({ item, job_id }) => ({ id: job_id, warnings: item.payload?.warnings ?? [] })),
  )
  const members = accepted.map(({ job_id, fresh }) => ({ job_id, started: !fresh }))
  await insertBatchItems(db, tenant_id, batch_id, members)
  return {
    batch_id,
    total: request.items.length,
    distribution_ids: accepted.map(({ job_id }) => publicId(job_id)),
    rejected,
    replayed: false,
    created: accepted
      .filter(({ fresh }) => fresh)
      .map(({ item: { submission } }) =>
        surroundings.get(submission.data_type)?.catalogued ? submission.data_type : OTHER,
      ),
  }
}

/** The response to the first request with this key. */
async function earlierAnswer(db: Db, batchId: string): Promise<BulkSubmitted> {
  const batch = await findBatch(db, batchId)
  if (!batch) throw noLongerKept('batch')
  return {
    batch_id: batch.id,
    total: batch.total_distributions,
    distribution_ids: await batchDistributionIds(db, batch.id),
    rejected: batch.rejected,
    created: [],
    replayed: true,
  }
}

async function surroundingsOf(db: Db, tenantId: string, items: Item[]): Promise<Map<string, SubmissionSurroundings>> {
  const found = new Map<string, SubmissionSurroundings>()
  for (const { submission } of items) {
    const { data_type } = submission
    if (!found.has(data_type)) found.set(data_type, await readSurroundings(db, tenantId, data_type))
  }
  return found
}

async function checkStored(
  db: Db,
  items: Item[],
  surroundings: ReadonlyMap<string, SubmissionSurroundings>,
): Promise<{ items: Item[]; rejected: Rejected[] }> {
  const known = await knownDestinations(
    db,
    items.flatMap(({ entries }) => entries.named),
  )
  const rejected: Rejected[] = []
  const good: Item[] = []
  const pace = createPace()
  for (const item of items) {
    await pace()
    const { index, submission, entries, payload } = item
    const details = storedIssues(submission, entries, known, surroundings.get(submission.data_type)!, payload)
    if (details.length > 0) rejected.push({ index, details: firstDetails(details) })
    else good.push(item)
  }
  return { items: good, rejected }
}

function noneAccepted(rejected: Rejected[]): ApiError {
  return invalid(
    rejected.flatMap(({ index, details }) =>
      details.map(({ field, issue }) => ({
        field: field === 'body' ? `distributions[${index}]` : `distributions[${index}].${field}`,
        issue,
      })),
    ),
  )
}
