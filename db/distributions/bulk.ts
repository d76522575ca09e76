// Does for many distributions what `jobs.ts` and `idempotency.ts` do for one. Each function needs one or two
// statements, whatever the number of distributions, in the transaction of the caller.

import type { Db } from '../pool.ts'
import { bytesOf, type NewJob } from './jobs.ts'
import { orderJobs } from './ordering.ts'

/** `count` new ids, sorted. */
export async function newJobIds(db: Db, count: number): Promise<string[]> {
  const { rows } = await db.query<{ id: string }>('select new_uuidv7() as id from generate_series(1, $1)', [count])
  return rows.map((row) => row.id).sort()
}

export interface WantedKey {
  key: string
  sha256: Buffer
  job_id: string
}

export interface TakenKey {
  job_id: string
  request_sha256: Buffer
}

/**
 * Claims each key for its job. Returns, by key, the job that has the key now. If `wanted` has a key twice, the first
 * one counts. Rows are inserted in the order of the keys, so that two requests with the same keys do not deadlock.
 */
export async function claimIdempotencyKeys(
  db: Db,
  tenantId: string,
  wanted: WantedKey[],
): Promise<Map<string, TakenKey>> {
  if (wanted.length === 0) return new Map()
  await db.query(
    `insert into idempotency_keys (tenant_id, key, request_sha256, job_id)
     select $1, w.key, w.sha256, w.job_id
       from unnest($2::text[], $3::bytea[], $4::uuid[]) with ordinality as w (key, sha256, job_id, position)
      order by w.key, w.position
         on conflict (tenant_id, key) do nothing`,
    [tenantId, wanted.map(({ key }) => key), wanted.map(({ sha256 }) => sha256), wanted.map(({ job_id }) => job_id)],
  )
  const { rows } = await db.query<TakenKey & { key: string }>(
    'select key, job_id, request_sha256 from idempotency_keys where tenant_id = $1 and key = any ($2)',
    [tenantId, wanted.map(({ key }) => key)],
  )
  return new Map(rows.map(({ key, ...taken }) => [key, taken]))
}

/** Releases a key whose job could not be stored. */
export async function forgetIdempotencyKey(db: Db, tenantId: string, key: string, jobId: string): Promise<void> {
  await db.query('delete from idempotency_keys where tenant_id = $1 and key = $2 and job_id = $3', [
    tenantId,
    key,
    jobId,
  ])
}

/** A distribution of a batch; the caller has already created its id. */
export type NewBatchJob = NewJob & { id: string }

/**
 * Inserts `pending` jobs that wait for their batch: while `check_at` is `infinity`, they have no run and the sweep
 * starts none. They get the same columns and the same expiry as the SQL procedure `submit_distribution` gives a single
 * job.
 */
export async function insertBatchJobs(db: Db, batchId: string, jobs: NewBatchJob[]): Promise<void> {
  const first = jobs[0]
  if (!first) return
  const column = <T>(of: (job: NewBatchJob) => T) => jobs.map(of)
  // All payloads as one value: an array of them would be escaped character by character.
  const payloads = jobs.map(bytesOf)
  let next = 1
  const starts = payloads.map(({ length }) => {
    next += length
    return next - length
  })
  await db.query(
    `with made as (
       insert into distribution_jobs (
         id, tenant_id, distribution_id, data_type, payload, payload_bytes, destinations, priority, callback_url,
         max_retries, expires_at, deliver_at, timeout_seconds, metadata, options, request_id, updated_at, check_at, batch_id)
       select n.id, $1, 'dist_' || n.id, n.data_type,
              (case when n.queryable then convert_from(p.bytes, 'UTF8') else '{}' end)::jsonb, p.bytes,
              n.destinations::jsonb, n.priority, n.callback_url, n.max_retries,
              least(n.expires_at, greatest(clock_timestamp(), id_time(n.id), n.deliver_at)
                                  + n.timeout_seconds * interval '1 second'),
              n.deliver_at, n.timeout_seconds, 
              case when n.queryable then n.metadata::jsonb
                   else n.metadata::jsonb || '{"payload_state": "not_queryable"}' end,
              n.options::jsonb, $2,
              greatest(clock_timestamp(), id_time(n.id)), 'infinity', $3
         from unnest($5::uuid[], $6::text[], $7::boolean[], $8::int[], $9::int[], $10::text[], $11::text[], $12::text[],
                     $13::int[], $14::timestamptz[], $15::timestamptz[], $16::int[], $17::text[], $18::text[])
           as n (id, data_type, queryable, payload_at, payload_length, destinations, priority, callback_url, max_retries,
                 expires_at, deliver_at, timeout_seconds, metadata, options),
              lateral (select substring($19::bytea from n.payload_at for n.payload_length) as bytes) p
       returning id)
     insert into audit_log (tenant_id, actor, action, resource_type, resource_id, details, request_id)
     select $1, $4, 'submit', 'distribution_job', id::text,
            jsonb_build_object('tenant_id', $1::text, 'distribution_id', 'dist_' || id, 'batch_id', $3::uuid), $2
       from made`,
    [
      first.tenant_id,
      first.request_id,
      batchId,
      first.actor,
      column((job) => job.id),
      column((job) => job.data_type),
      column((job) => job.payload_queryable),
      starts,
      payloads.map(({ length }) => length),
      column((job) => JSON.stringify(job.destinations)),
      column((job) => job.priority),
      column((job) => job.callback_url),
      column((job) => job.max_retries),
      column((job) => job.expires_at),
      column((job) => job.deliver_at),
      column((job) => job.timeout_seconds),
      column((job) => job.metadata_text),
      column((job) => JSON.stringify(job.options)),
      Buffer.concat(payloads),
    ],
  )
  await orderJobs(db, first.tenant_id, jobs)
}
