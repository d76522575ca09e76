import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { endDistribution } from '../../db/distributions/end.ts'
import { parseDistributionId } from '../../db/distributions/job-id.ts'
import { insertPlan } from '../../db/distributions/plan.ts'
import { withTenant } from '../../db/pool.ts'
import { type ApiUnderTest, aSubmission, inline, startApi } from './api-under-test.ts'

let api: ApiUnderTest
beforeAll(async () => {
  api = await startApi()
})
afterAll(() => api.close())

async function submitted(given: Record<string, unknown> = {}): Promise<string> {
  const { body } = await api.call('POST', '/distribution/submit', aSubmission(given))
  return body.distribution_id
}

/** A planned distribution whose deliveries stand as given. */
async function planned(statuses: Record<string, string>, job = 'processing'): Promise<string> {
  const distributionId = await submitted({ destinations: Object.keys(statuses).map((name) => inline({ name })) })
  const id = parseDistributionId(distributionId)!
  const deliveries = Object.keys(statuses).map((name) => ({
    destination_name: name,
    protocol: 'REST' as const,
    destination_id: null,
    configuration: { endpoint: 'https://receiver.example/in' },
    target: 'REST://receiver.example:443',
    max_retries: null,
    status: 'pending' as const,
    error_code: null,
    error_message: null,
  }))
  await withTenant(api.pool, 'acme', async (db) => {
    await insertPlan(db, 'acme', id, deliveries, [])
    for (const [name, status] of Object.entries(statuses)) {
      await db.query(
        `update distribution_deliveries
            set status = $3::text, attempts = 2, response_time_ms = 10, started_at = now(),
                error_code = case when $3 = 'failed' then 'REJECTED' end,
                error_message = case when $3 = 'failed' then 'the receiver said 404' end
          where distribution_job_id = $1 and destination_name = $2`,
        [id, name, status],
      )
    }
    await db.query('update distribution_jobs set status = $2, check_at = null where id = $1', [id, job])
  })
  return distributionId
}

/** What a run does once it has read the cancel in its row. */
async function runEnds(id: string): Promise<void> {
  const job = parseDistributionId(id)!
  await withTenant(api.pool, 'acme', (db) => endDistribution(db, job, { round: 1, cause: 'done' }))
}

describe('release', () => {
  const ordered = async (given: Record<string, unknown> = {}) => {
    const id = await planned({ a: 'failed', b: 'success' }, 'failed')
    await api.rows(
      'acme',
      `update distribution_deliveries set ordering_key = $2, ordering_seq = $3, ordering_blocks = $4
        where distribution_job_id = $1`,
      [parseDistributionId(id), given.key ?? 'released', 1, given.blocks ?? true],
    )
    await api.rows('acme', 'update distribution_jobs set ordering_key = $2, ordering_seq = 1 where id = $1', [
      parseDistributionId(id),
      given.key ?? 'released',
    ])
    return id
  }
  const release = (id: string, key = api.keys.acme.operator) =>
    api.call('POST', `/distribution/${id}/release`, undefined, { key })

  it('releases the distributions blocked by a failure, once, and signals them', async () => {
    const id = await ordered()
    const behind = await planned({ a: 'waiting' })
    await api.rows(
      'acme',
      `update distribution_deliveries set ordering_key = 'released', ordering_seq = 2 where distribution_job_id = $1`,
      [parseDistributionId(behind)],
    )
    const { status, body } = await release(id)
    expect(status).toBe(200)
    expect(body).toMatchObject({ distribution_id: id, status: 'failed', destinations: ['a'] })
    expect(api.dispatcher.turns.splice(0)).toEqual([{ tenant_id: 'acme', distribution_id: behind }])
    expect((await release(id)).status).toBe(409)
    const shown = await api.call('GET', `/distribution/${id}/status`)
    expect(shown.body).toMatchObject({ status: 'failed', ordering_key: 'released', schedule_id: null })
    const { body: list } = await api.call('GET', '/distribution/list?ordering_key=released')
    expect(list.distributions.map((one: { distribution_id: string }) => one.distribution_id)).toEqual([id])
  })

  it('is rejected if nothing is blocked, and for callers without the role', async () => {
    expect((await release(await ordered({ key: 'other', blocks: false }))).status).toBe(409)
    const id = await ordered({ key: 'third' })
    expect((await release(id, api.keys.acme.viewer)).status).toBe(403)
    expect((await release(id, api.keys.other.admin)).status).toBe(404)
  })
})

describe('status', () => {
  it('shows the destinations of the submission before the plan is made', async () => {
    const id = await submitted({ destinations: [inline({ name: 'b' }), inline({ name: 'a' })] })
    const { status, body } = await api.call('GET', `/distribution/${id}/status`, undefined, {
      key: api.keys.acme.viewer,
    })
    expect(status).toBe(200)
    expect(body).toMatchObject({
      distribution_id: id,
      tenant_id: 'acme',
      status: 'pending',
      priority: 'normal',
      data_type: 'report',
      started_at: null,
      completed_at: null,
      error_code: null,
      progress_percentage: 0,
      metrics: { total_latency_ms: null, average_response_time_ms: null, success_rate: 0, retry_count: 0 },
      errors: [],
      warnings: [],
    })
    expect(body.destinations).toMatchObject([
      { name: 'b', protocol: 'REST', status: 'pending', attempts: 0, next_attempt_at: null },
      { name: 'a', protocol: 'REST', status: 'pending', attempts: 0, next_attempt_at: null },
    ])
  })

  it('shows which destinations were served and which were not', async () => {
    const id = await planned({ good: 'success', bad: 'failed', open: 'waiting' })
    const { body } = await api.call('GET', `/distribution/${id}/status`)
    expect(body.progress_percentage).toBe(66)
    expect(body.metrics).toMatchObject({ average_response_time_ms: 10, success_rate: 0.3333, retry_count: 3 })
    expect(body.errors).toEqual([
      { destination: 'bad', error_code: 'REJECTED', error_message: 'the receiver said 404' },
    ])
    expect(Object.keys(body.destinations[0]).sort()).toEqual(
      [
        ...['attempts', 'completed_at', 'error_code', 'error_message', 'name', 'next_attempt_at', 'protocol'],
        ...['response_status', 'response_time_ms', 'started_at', 'status'],
      ].sort(),
    )
  })

  it('does not count a delivery that was not needed as a failure', async () => {
    const id = await planned({ first: 'success', standby: 'skipped' }, 'completed')
    const { body } = await api.call('GET', `/distribution/${id}/status`)
    expect(body.metrics.success_rate).toBe(1)
    const dropped = await planned({ only: 'skipped' }, 'completed')
    expect((await api.call('GET', `/distribution/${dropped}/status`)).body.metrics.success_rate).toBeNull()
  })

  it.each(['dist_019bc0de-7a10-7cc3-98c4-dc0c0c07398f', 'dist_x', 'x', 'dist_%00', "'"])(
    'of what is not there is a 404: %s',
    async (id) => {
      const { status, body } = await api.call('GET', `/distribution/${id}/status`)
      expect([status, body.error]).toEqual([404, 'NOT_FOUND'])
    },
  )
})

describe('attempts', () => {
  it('are listed oldest first, page by page', async () => {
    const id = await planned({ a: 'waiting' })
    await withTenant(api.pool, 'acme', (db) =>
      db.query(
        `insert into distribution_attempts (distribution_job_id, destination_name, tenant_id, delivery_id, attempt_number,
                                            round, status, response_body)
         select distribution_job_id, 'a', tenant_id, delivery_id, n, 1, 'retry', 'body ' || n
           from distribution_deliveries, generate_series(1, 5) as n where distribution_job_id = $1 order by n`,
        [parseDistributionId(id)],
      ),
    )
    const all = await api.call('GET', `/distribution/${id}/attempts`)
    expect(all.body.attempts).toHaveLength(5)
    expect(all.body.pagination).toEqual({ limit: 1000, has_more: false, next_cursor: null })
    const numbers: number[] = []
    let cursor: string | null = ''
    while (cursor !== null) {
      const page = await api.call('GET', `/distribution/${id}/attempts?limit=2${cursor ? `&cursor=${cursor}` : ''}`)
      numbers.push(...page.body.attempts.map((attempt: { attempt_number: number }) => attempt.attempt_number))
      cursor = page.body.pagination.next_cursor
    }
    expect(numbers).toEqual([1, 2, 3, 4, 5])
    expect(all.body.attempts.map((attempt: { attempt_number: number }) => attempt.attempt_number)).toEqual(numbers)
  })
})

describe('cancel', () => {
  it('changes the row, then signals the run', async () => {
    const id = await planned({ a: 'pending' })
    const { status, body } = await api.call('POST', `/distribution/${id}/cancel`, { reason: 'mistake' })
    expect(status).toBe(202)
    expect(body).toEqual({
      distribution_id: id,
      status: 'processing',
      tracking_url: `/api/v1/distribution/${id}/status`,
    })
    expect(api.dispatcher.cancelled).toContainEqual({ tenant_id: 'acme', distribution_id: id })
    const [row] = await api.rows('acme', 'select cancel_reason from distribution_jobs where distribution_id = $1', [id])
    expect(row).toEqual({ cancel_reason: 'mistake' })
    const { body: shown } = await api.call('GET', `/distribution/${id}/status`)
    expect(shown.cancel_reason).toBe('mistake')
    const key = api.keys.acme.admin
    for (const resource_id of [id, id.slice('dist_'.length)]) {
      const audit = await api.call('GET', `/audit-log?action=cancel&resource_id=${resource_id}`, undefined, { key })
      expect(audit.body.events).toMatchObject([
        { actor: expect.stringMatching(/^api_key:/), request_id: expect.any(String) },
      ])
    }
  })

  it('keeps its reason in the audit log, also after a retry', async () => {
    const id = await planned({ a: 'pending' })
    await api.call('POST', `/distribution/${id}/cancel`, { reason: 'mistake' })
    await runEnds(id)
    expect((await api.call('POST', `/distribution/${id}/retry`)).status).toBe(202)
    const { body: shown } = await api.call('GET', `/distribution/${id}/status`)
    expect(shown.cancel_reason).toBeNull()
    const { body } = await api.call('GET', `/audit-log?action=cancel&resource_id=${id}`, undefined, {
      key: api.keys.acme.admin,
    })
    expect(body.events).toMatchObject([{ details: { reason: 'mistake' } }])
  })

  it('shows how the run ended it', async () => {
    const id = await planned({ a: 'pending' })
    const { status, body } = await api.call('POST', `/distribution/${id}/cancel`)
    expect([status, body.status]).toEqual([202, 'processing'])
    await runEnds(id)
    const { body: shown } = await api.call('GET', `/distribution/${id}/status`)
    expect(shown).toMatchObject({ status: 'cancelled', error_code: 'CANCELLED' })
    expect(shown.destinations).toMatchObject([{ status: 'cancelled', error_code: 'CANCELLED' }])
  })

  it('before a plan was made shows why each destination got nothing', async () => {
    const { body: accepted } = await api.call('POST', '/distribution/submit', aSubmission())
    await api.call('POST', `/distribution/${accepted.distribution_id}/cancel`)
    await runEnds(accepted.distribution_id)
    const { body: shown } = await api.call('GET', `/distribution/${accepted.distribution_id}/status`)
    expect(shown.destinations).toMatchObject([{ status: 'cancelled', error_code: 'CANCELLED' }])
    expect(shown.destinations[0].completed_at).toBe(shown.completed_at)
  })

  it('does not affect a retry that came after the run had ended', async () => {
    const id = await planned({ a: 'pending' })
    const { signalCancel } = api.dispatcher.runs
    api.dispatcher.runs.signalCancel = async () => {
      // The run read the cancel in its last look at the row and has ended. Somebody retries at once.
      await runEnds(id)
      expect((await api.call('POST', `/distribution/${id}/retry`)).status).toBe(202)
    }
    const { status } = await api.call('POST', `/distribution/${id}/cancel`)
    api.dispatcher.runs.signalCancel = signalCancel
    expect(status).toBe(202)
    const { body: shown } = await api.call('GET', `/distribution/${id}/status`)
    expect(shown).toMatchObject({ status: 'pending', destinations: [{ status: 'pending' }] })
  })

  it.each(['completed', 'failed', 'cancelled'])(
    'of a distribution that is %s is a 409, and nobody is told',
    async (state) => {
      const id = await planned({ a: 'success' }, state)
      const told = api.dispatcher.cancelled.length
      const { status, body } = await api.call('POST', `/distribution/${id}/cancel`)
      expect([status, body.error]).toEqual([409, 'CONFLICT'])
      expect(body.message).toContain(state)
      expect(api.dispatcher.cancelled).toHaveLength(told)
    },
  )

  it('is accepted again after it was carried out, because the first response may have been lost', async () => {
    const id = await planned({ a: 'success', b: 'pending' })
    await api.call('POST', `/distribution/${id}/cancel`)
    await runEnds(id)
    const told = api.dispatcher.cancelled.length
    const { status, body } = await api.call('POST', `/distribution/${id}/cancel`)
    expect([status, body.status]).toEqual([202, 'cancelled'])
    expect(api.dispatcher.cancelled).toHaveLength(told)
    const audits = await api.rows('acme', "select from audit_log where action = 'cancel' and resource_id = $1", [
      parseDistributionId(id),
    ])
    expect(audits).toHaveLength(1)
  })

  it('that was accepted while the last delivery was succeeding says that it came too late', async () => {
    const id = await planned({ a: 'pending' })
    const job = parseDistributionId(id)!
    expect((await api.call('POST', `/distribution/${id}/cancel`)).status).toBe(202)
    await api.rows('acme', "update distribution_deliveries set status = 'success' where distribution_job_id = $1", [
      job,
    ])
    await withTenant(api.pool, 'acme', (db) => endDistribution(db, job, { round: 1, cause: 'cancelled' }))
    const { body: shown } = await api.call('GET', `/distribution/${id}/status`)
    expect(shown).toMatchObject({
      status: 'completed',
      error_code: null,
      warnings: ['The cancel came too late: every destination had been served'],
    })
    const again = await api.call('POST', `/distribution/${id}/cancel`)
    expect([again.status, again.body.message]).toEqual([
      409,
      'the distribution is already completed: the request to cancel it came too late',
    ])
    // A retry is a new life, of which the warning says nothing.
    expect((await api.call('POST', `/distribution/${id}/retry`, { force: true })).status).toBe(202)
    const { body: retried } = await api.call('GET', `/distribution/${id}/status`)
    expect(retried.warnings).toEqual([])
  })

  it('refuses a reason that is too long, an unknown field, and an unknown distribution', async () => {
    const id = await submitted()
    const long = await api.call('POST', `/distribution/${id}/cancel`, { reason: 'x'.repeat(501) })
    expect([long.status, long.body.details[0].field]).toEqual([400, 'reason'])
    const unknown = await api.call('POST', `/distribution/${id}/cancel`, { raeson: 'x' })
    expect([unknown.status, unknown.body.details[0].issue]).toEqual([
      400,
      'is not a known field, did you mean "reason"?',
    ])
    const missing = await api.call('POST', '/distribution/dist_019bc0de-7a10-7cc3-98c4-dc0c0c07398f/cancel')
    expect(missing.status).toBe(404)
  })
})

describe('retry', () => {
  it('opens what failed again, in a new round', async () => {
    const id = await planned({ good: 'success', bad: 'failed' }, 'failed')
    const { status, body } = await api.call('POST', `/distribution/${id}/retry`)
    expect(status).toBe(202)
    expect(body).toMatchObject({ distribution_id: id, status: 'pending', round: 2, destinations: ['bad'] })
    expect(api.dispatcher.retried).toContainEqual({ tenant_id: 'acme', distribution_id: id })
  })

  it('with force sends again what succeeded', async () => {
    const id = await planned({ good: 'success' }, 'completed')
    expect((await api.call('POST', `/distribution/${id}/retry`)).status).toBe(409)
    const { status, body } = await api.call('POST', `/distribution/${id}/retry`, { force: true })
    expect([status, body.destinations]).toEqual([202, ['good']])
  })

  it('with nothing to retry is refused with a reason', async () => {
    const id = await planned({ good: 'success' }, 'completed')
    const told = api.dispatcher.retried.length
    const { status, body } = await api.call('POST', `/distribution/${id}/retry`)
    expect([status, body.error]).toEqual([409, 'CONFLICT'])
    expect(body.message).toContain('nothing to retry')
    expect(api.dispatcher.retried).toHaveLength(told)
  })

  it('names destinations that the distribution does not have', async () => {
    const id = await planned({ bad: 'failed' }, 'failed')
    const { status, body } = await api.call('POST', `/distribution/${id}/retry`, { destinations: ['bad', 'else'] })
    expect([status, body.details]).toEqual([
      400,
      [{ field: 'destinations[1]', issue: 'is not a destination of this distribution' }],
    ])
  })

  it('of a distribution cancelled before its deliver_at keeps the expiry relative to deliver_at', async () => {
    const deliver_at = new Date(Date.now() + 86_400_000).toISOString()
    const id = await submitted({ deliver_at })
    await withTenant(api.pool, 'acme', (db) =>
      endDistribution(db, parseDistributionId(id)!, { round: 1, cause: 'cancelled' }),
    )
    expect((await api.call('POST', `/distribution/${id}/retry`)).status).toBe(202)
    const [row] = await api.rows<{ expires_at: Date }>(
      'acme',
      'select expires_at from distribution_jobs where distribution_id = $1',
      [id],
    )
    expect(row!.expires_at.getTime()).toBeGreaterThan(Date.parse(deliver_at))
  })

  it('while a cancel is under way is a 409', async () => {
    const id = await planned({ bad: 'failed', open: 'pending' })
    await api.call('POST', `/distribution/${id}/cancel`)
    expect((await api.call('POST', `/distribution/${id}/retry`)).status).toBe(409)
  })
})

describe('another tenant', () => {
  it.each([
    ['GET', 'status'],
    ['GET', 'attempts'],
    ['POST', 'cancel'],
    ['POST', 'retry'],
  ])('gets a 404 for %s %s, as for an object that does not exist', async (method, what) => {
    const id = await planned({ bad: 'failed' })
    const key = api.keys.other.platform
    const foreign = await api.call(method, `/distribution/${id}/${what}`, undefined, { key })
    const absent = await api.call(method, `/distribution/${id.slice(0, -4)}0000/${what}`, undefined, { key })
    expect(foreign.status).toBe(404)
    const { request_id: _, timestamp: __, ...rest } = foreign.body
    expect(absent.body).toMatchObject(rest)
  })
})
