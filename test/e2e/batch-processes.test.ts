// Order over two APIs and two workers, with one of each killed in the middle; batches, a bulk retry and a schedule whose
// processes or whose Temporal die.
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Deployment, type Running, startDeployment } from '../support/deployment.ts'
import { type HttpReceiver, startHttpReceiver } from '../support/receivers/http.ts'

let deployment: Deployment
let apis: Running[]
let workers: Running[]
let receiver: HttpReceiver

beforeAll(async () => {
  deployment = await startDeployment()
  receiver = await startHttpReceiver()
  const started = await Promise.all([
    deployment.startApi(),
    deployment.startApi(),
    deployment.startWorker(),
    deployment.startWorker(),
  ])
  apis = started.slice(0, 2)
  workers = started.slice(2)
}, 180_000)
afterAll(async () => {
  await deployment?.close()
  await receiver?.close()
})

async function post(api: Running, path: string, body: unknown, headers: Record<string, string> = {}) {
  const response = await fetch(`${api.url}/api/v1${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-api-key': deployment.apiKey, ...headers },
    body: JSON.stringify(body),
  })
  return { status: response.status, body: (await response.json()) as Record<string, unknown> }
}

const item = (path: string, more: Record<string, unknown> = {}) => ({
  data_type: 'report',
  payload: { path },
  destinations: [{ name: 'a', protocol: 'REST', endpoint: `${receiver.url}/${path}` }],
  options: { timeout_seconds: 600, max_retries: 10 },
  ...more,
})

async function query<T extends pg.QueryResultRow>(sql: string, values: unknown[]): Promise<T[]> {
  const client = new pg.Client({ connectionString: deployment.databaseUrl })
  client.on('error', () => {})
  try {
    await client.connect()
    return (await client.query<T>(sql, values)).rows
  } finally {
    await client.end().catch(() => {})
  }
}

const pathsFrom = (from: number) => receiver.requests.slice(from).map(({ path }) => path.slice(1))

describe('kill -9', () => {
  it('of an API and a worker: one key still goes out one after another, in the order of acceptance', async () => {
    receiver.reply({ after_ms: 60 })
    const from = receiver.requests.length
    for (let i = 0; i < 30; i += 1) {
      const { status } = await post(apis[i % 2]!, '/distribution/submit', item(String(i), { ordering_key: 'k' }))
      expect(status).toBe(202)
    }
    await receiver.until(() => receiver.requests.length >= from + 6)
    await Promise.all([workers[0]!.kill9(), apis[0]!.kill9()])
    workers[0] = await deployment.startWorker()
    apis[0] = await deployment.startApi()
    await expect
      .poll(
        async () =>
          (
            await query<{ n: number }>(
              `select count(*)::int as n from distribution_jobs where ordering_key = 'k' and status = 'completed'`,
              [],
            )
          )[0]!.n,
        { timeout: 150_000, interval: 250 },
      )
      .toBe(30)
    const seen = pathsFrom(from)
    // A send whose worker died may arrive twice, at its own place; nothing overtakes.
    const runs = seen.filter((path, i) => path !== seen[i - 1])
    expect(runs).toEqual(Array.from({ length: 30 }, (_, i) => String(i)))
    expect(seen.length).toBeLessThanOrEqual(31)
  }, 240_000)

  it('of everything in the middle of a batch: all that was accepted is delivered, and a repeat with the key makes none', async () => {
    receiver.reply({ after_ms: 20 })
    const from = receiver.requests.length
    const request = { distributions: Array.from({ length: 60 }, (_, i) => item(`batch-${i}`)) }
    const key = { 'Idempotency-Key': 'batch-1' }
    const first = await post(apis[0]!, '/distribution/bulk-submit', request, key)
    expect(first.status).toBe(202)
    await receiver.until(() => receiver.requests.length >= from + 20)
    await Promise.all([...workers, ...apis].map((program) => program.kill9()))
    workers = [await deployment.startWorker()]
    apis = [await deployment.startApi()]
    const again = await post(apis[0]!, '/distribution/bulk-submit', request, key)
    expect(again.body).toEqual(first.body)
    const id = String(first.body.batch_id).slice('batch_'.length)
    const statuses = () =>
      query<{ status: string; n: number }>(
        'select status, count(*)::int as n from distribution_jobs where batch_id = $1 group by 1',
        [id],
      )
    await expect.poll(statuses, { timeout: 150_000, interval: 500 }).toEqual([{ status: 'completed', n: 60 }])
    expect(new Set(pathsFrom(from)).size).toBe(60)
    await expect
      .poll(async () => (await query('select status from batches where id = $1', [id]))[0], { timeout: 60_000 })
      .toEqual({ status: 'completed' })
  }, 240_000)

  it('of the worker in the middle of a bulk retry: each is sent again in one round', async () => {
    receiver.reply({ status: 404 })
    const request = { distributions: Array.from({ length: 60 }, (_, i) => item(`again-${i}`, { data_type: 'again' })) }
    const made = await post(apis[0]!, '/distribution/bulk-submit', request)
    const statuses = () =>
      query<{ status: string; round: number; n: number }>(
        `select status, round, count(*)::int as n from distribution_jobs where data_type = 'again' group by 1, 2`,
        [],
      )
    expect(made.status).toBe(202)
    await expect.poll(statuses, { timeout: 90_000, interval: 250 }).toEqual([{ status: 'failed', round: 1, n: 60 }])
    receiver.reply({ after_ms: 20 })
    const from = receiver.requests.length
    const retry = { data_type: 'again' }
    const key = { 'Idempotency-Key': 'retry-again' }
    const first = await post(apis[0]!, '/distribution/retry', retry, key)
    expect(first.body).toMatchObject({ total_distributions: 60 })
    await receiver.until(() => receiver.requests.length >= from + 10)
    await workers[0]!.kill9()
    workers = [await deployment.startWorker()]
    expect((await post(apis[0]!, '/distribution/retry', retry, key)).body).toEqual(first.body)
    await expect.poll(statuses, { timeout: 120_000, interval: 250 }).toEqual([{ status: 'completed', round: 2, n: 60 }])
    expect(new Set(pathsFrom(from).filter((path) => path.startsWith('again-'))).size).toBe(60)
  }, 300_000)

  it('of Temporal with all its data: a schedule is made again from its row', async () => {
    receiver.reply({})
    const made = await post(apis[0]!, '/distribution/schedules', {
      name: 'ticks',
      interval_seconds: 10,
      submission: item('tick'),
    })
    expect(made.status).toBe(201)
    const ticks = () => receiver.requests.filter(({ path }) => path === '/tick').length
    // The first time comes up to ten seconds after the schedule was made.
    await receiver.until(() => ticks() >= 1, 60_000)
    await deployment.killTemporal()
    await deployment.restartTemporal({ forget: true })
    const before = ticks()
    await expect.poll(ticks, { timeout: 120_000, interval: 250 }).toBeGreaterThan(before)
    const occasions = await query<{ occasion: string; n: number }>(
      `select options #>> '{schedule,occasion}' as occasion, count(*)::int as n from distribution_jobs
        where options #>> '{schedule,name}' = 'ticks' group by 1 having count(*) > 1`,
      [],
    )
    expect(occasions).toEqual([])
  }, 240_000)

  it('of the API in the middle of accepting: nothing of it is there, and the repeat makes it once', async () => {
    // Nobody delivers these: the test is about what is accepted.
    for (const worker of workers) await worker.kill9()
    const request = { distributions: Array.from({ length: 3000 }, (_, i) => item(`cut-${i}`, { payload: i })) }
    const key = { 'Idempotency-Key': 'cut-1' }
    const accepting = post(apis[0]!, '/distribution/bulk-submit', request, key).catch(() => undefined)
    await expect
      .poll(
        async () =>
          (
            await query<{ n: number }>(
              `select count(*)::int as n from pg_stat_activity
                where application_name = 'distributor-api' and query ilike '%insert into distribution_jobs%'
                  and xact_start is not null and state <> 'idle'`,
              [],
            )
          )[0]!.n,
        { timeout: 60_000, interval: 5 },
      )
      .toBeGreaterThan(0)
    await apis[0]!.kill9()
    expect(await accepting).toBeUndefined()
    await expect.poll(async () => (await query(`select from idempotency_keys where key = 'cut-1'`, [])).length).toBe(0)
    expect(
      await query(`select from distribution_jobs where destinations @> '[{"name":"a"}]' and payload = '7'`, []),
    ).toEqual([])
    apis = [await deployment.startApi()]
    const { status, body } = await post(apis[0]!, '/distribution/bulk-submit', request, key)
    expect(status).toBe(202)
    const [count] = await query<{ n: number }>('select count(*)::int as n from distribution_jobs where batch_id = $1', [
      String(body.batch_id).slice('batch_'.length),
    ])
    expect(count).toEqual({ n: 3000 })
  }, 240_000)
})
