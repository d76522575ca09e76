// The life of a distribution whose submission states none, where its protocol's retries need more than five minutes.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { plan } from '../../activities/distribution/plan.ts'
import { requestRetry } from '../../db/distributions/commands.ts'
import { jobId } from '../../db/distributions/job-id.ts'
import { withTenant } from '../../db/pool.ts'
import { aSubmission, inline } from './api-under-test.ts'
import { startRulesApi } from './ruling.ts'

const MAIL = { host: 'mail.example', from: 'reports@sender.example', to: ['ann@receiver.example'] }
const MINUTE = 60

let rules: Awaited<ReturnType<typeof startRulesApi>>

beforeAll(async () => {
  rules = await startRulesApi()
  const body = { name: 'post', protocol: 'EMAIL', configuration: MAIL }
  expect((await rules.admin('POST', '/destinations/register', body)).status).toBe(201)
})
afterAll(() => rules.api.close())

const mail = { name: 'mail', protocol: 'EMAIL', ...MAIL }

async function submit(given: Record<string, unknown>): Promise<string> {
  const { status, body } = await rules.api.call('POST', '/distribution/submit', aSubmission(given))
  expect(status).toBe(202)
  return body.distribution_id
}

/** Plans it; answers its life in seconds, by the plan and by its row. */
async function lifeOf(distribution_id: string): Promise<number> {
  const planned = await plan(rules.api.pool, { tenant_id: 'acme', distribution_id })
  const [row] = await rules.api.rows<{ left: number; life: number }>(
    'acme',
    `select extract(epoch from expires_at - clock_timestamp())::float8 as left,
            extract(epoch from expires_at - greatest(created_at, deliver_at))::float8 as life
       from distribution_jobs where distribution_id = $1`,
    [distribution_id],
  )
  expect(Math.abs(planned!.expires_in_ms / 1000 - row!.left)).toBeLessThan(2)
  return Math.round(row!.life)
}

describe('a distribution without a stated expiry', () => {
  it.each([
    ['five minutes', 'no mail', { destinations: [inline()] }, 5 * MINUTE],
    ['an hour', 'an inline mail', { destinations: [mail] }, 60 * MINUTE],
    ['an hour', 'a mail beside others', { destinations: [inline(), mail, 'archive'] }, 60 * MINUTE],
    ['an hour', 'a registered mail', { destinations: ['post'] }, 60 * MINUTE],
  ])('lives for %s with %s', async (_, __, given, seconds) => {
    expect(await lifeOf(await submit(given))).toBe(seconds)
  })

  it('counts it from deliver_at on', async () => {
    const deliver_at = new Date(Date.now() + 86_400_000).toISOString()
    expect(await lifeOf(await submit({ destinations: [mail], deliver_at }))).toBe(60 * MINUTE)
  })

  it('still ends at its expires_at', async () => {
    const at = (seconds: number) => new Date(Date.now() + seconds * 1000).toISOString()
    for (const [seconds, life] of [
      [120, 120],
      [1200, 1200],
      [7200, 3600],
    ] as const) {
      const found = await lifeOf(await submit({ destinations: [mail], expires_at: at(seconds) }))
      expect(Math.abs(found - life)).toBeLessThan(3)
    }
  })

  it('keeps it for a retry, also a later one than its expires_at', async () => {
    const expires_at = new Date(Date.now() + 60_000).toISOString()
    const id = await submit({ destinations: [mail], expires_at })
    await lifeOf(id)
    await rules.api.rows(
      'acme',
      `update distribution_deliveries set status = 'failed' where distribution_job_id = $1`,
      [jobId(id)],
    )
    await withTenant(rules.api.pool, 'acme', (db) => requestRetry(db, jobId(id), { force: false }))
    expect(Math.abs((await lifeOf(id)) - 60 * MINUTE)).toBeLessThan(10)
  })

  it('has it where rules choose the mail', async () => {
    const rule = rules.aRule({
      conditions: { path: 'data_type', operator: 'equal', value: 'to-post' },
      actions: { destinations: ['post'] },
    })
    expect((await rules.admin('POST', '/rules', rule)).status).toBe(201)
    expect(await lifeOf(await submit({ data_type: 'to-post', destinations: [] }))).toBe(60 * MINUTE)
  })
})

describe('an expiry that was stated', () => {
  it.each([30, 300, 1000])('%i s in the submission are kept', async (timeout_seconds) => {
    expect(await lifeOf(await submit({ destinations: [mail], options: { timeout_seconds } }))).toBe(timeout_seconds)
  })

  it('in a retry is kept, also when the distribution is planned again', async () => {
    const id = await submit({ destinations: [mail] })
    await rules.api.rows('acme', `update distribution_jobs set status = 'cancelled' where id = $1`, [jobId(id)])
    await withTenant(rules.api.pool, 'acme', (db) => requestRetry(db, jobId(id), { force: true, timeout_seconds: 120 }))
    expect(Math.abs((await lifeOf(id)) - 120)).toBeLessThan(10)
  })

  it('set by a rule is kept', async () => {
    const rule = rules.aRule({
      rule_type: 'prioritization',
      conditions: { path: 'data_type', operator: 'equal', value: 'short' },
      actions: { expires_in_seconds: 90 },
    })
    expect((await rules.admin('POST', '/rules', rule)).status).toBe(201)
    expect(await lifeOf(await submit({ data_type: 'short', destinations: [mail] }))).toBe(90)
  })
})
