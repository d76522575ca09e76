// A job with one delivery that is to be attempted.
import { submitJob } from '../../db/distributions/jobs.ts'
import { insertPlan } from '../../db/distributions/plan.ts'
import type { Db } from '../../db/pool.ts'

/** Of the tenant acme, to the destination `a`; answers the job's uuid. */
export async function aPlannedJob(db: Db): Promise<string> {
  const { id } = await submitJob(db, {
    tenant_id: 'acme',
    id: null,
    data_type: 'report',
    priority: 'normal',
    payload_text: '{}',
    payload_queryable: true,
    destinations: [{ name: 'a' }],
    callback_url: null,
    max_retries: null,
    timeout_seconds: 300,
    expires_at: null,
    deliver_at: null,
    metadata_text: '{}',
    options: {},
    request_id: 'request-1',
    actor: 'test',
  })
  const delivery = {
    protocol: 'REST' as const,
    destination_id: null,
    configuration: {},
    target: null,
    max_retries: null,
  }
  const pending = { status: 'pending' as const, error_code: null, error_message: null }
  await insertPlan(db, 'acme', id, [{ ...delivery, ...pending, destination_name: 'a' }], [])
  return id
}
