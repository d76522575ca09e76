// Kill -9 of every part in the middle of its work: every destination is served, no attempt number is missing or
// doubled, and a 200 that was recorded is never sent again.
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Deployment, type Running, startDeployment } from '../support/deployment.ts'
import { freeze } from '../support/freeze.ts'
import { type HttpReceiver, startHttpReceiver } from '../support/receivers/http.ts'

let deployment: Deployment
let api: Running
let worker: Running
let receiver: HttpReceiver

beforeAll(async () => {
  deployment = await startDeployment()
  receiver = await startHttpReceiver()
  ;[api, worker] = await Promise.all([deployment.startApi(), deployment.startWorker()])
})
afterAll(async () => {
  await deployment?.close()
  await receiver?.close()
})

/** Submits `count` distributions, ten at a time. */
async function submit(count: number, body: Record<string, unknown> = {}): Promise<string[]> {
  const ids: string[] = []
  for (let from = 0; from < count; from += 10) {
    const page = Array.from({ length: Math.min(10, count - from) }, (_, i) => submitOne(from + i, body))
    ids.push(...(await Promise.all(page)))
  }
  return ids
}

async function submitOne(i: number, body: Record<string, unknown>): Promise<string> {
  const response = await trySubmit(i, body)
  expect(response.status).toBe(202)
  return ((await response.json()) as { distribution_id: string }).distribution_id
}

function trySubmit(i: number, body: Record<string, unknown>): Promise<Response> {
  return fetch(`${api.url}/api/v1/distribution/submit`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-api-key': deployment.apiKey },
    body: JSON.stringify({
      data_type: 'report',
      payload: { i },
      destinations: [{ name: 'a', protocol: 'REST', endpoint: `${receiver.url}/${i}` }],
      options: { timeout_seconds: 600, max_retries: 10 },
      ...body,
    }),
  })
}

interface Attempt {
  distribution_id: string
  job_status: string
  attempt_number: number
  status: string
  retry_reason: string | null
  delivery_id: string
}

async function attemptsOf(ids: string[]): Promise<Attempt[]> {
  const client = new pg.Client({ connectionString: deployment.databaseUrl })
  client.on('error', () => {})
  try {
    await client.connect()
    const { rows } = await client.query<Attempt>(
      `select j.distribution_id, j.status as job_status, a.attempt_number, a.status, a.retry_reason, a.delivery_id
         from distribution_jobs j left join distribution_attempts a on a.distribution_job_id = j.id
        where j.distribution_id = any ($1) order by j.id, a.attempt_number`,
      [ids],
    )
    return rows
  } finally {
    await client.end().catch(() => {})
  }
}

async function allServed(ids: string[], timeout = 100_000): Promise<Attempt[]> {
  await expect
    .poll(
      async () => {
        const attempts = await attemptsOf(ids).catch(() => [])
        return new Set(attempts.filter((row) => row.job_status === 'completed').map((row) => row.distribution_id)).size
      },
      { timeout, interval: 250 },
    )
    .toBe(ids.length)
  return await attemptsOf(ids)
}

/** Numbers run from 1 without a gap, one success ends each, and the receiver saw no more than the rows say. */
function expectSound(ids: string[], attempts: Attempt[]) {
  for (const id of ids) {
    const own = attempts.filter((attempt) => attempt.distribution_id === id)
    expect(own.map((attempt) => attempt.attempt_number)).toEqual(own.map((_, i) => i + 1))
    expect(own.filter((attempt) => attempt.status === 'success')).toHaveLength(1)
    expect(own.at(-1)?.status).toBe('success')
    const seen = receiver.requests.filter((request) => request.headers['idempotency-key'] === own[0]!.delivery_id)
    expect(seen.length).toBeGreaterThanOrEqual(1)
    expect(seen.length).toBeLessThanOrEqual(own.length)
  }
}

describe('a PostgreSQL that stands still in mid-run', () => {
  it('and goes on loses nothing and has nothing sent twice; submissions meanwhile are 503', async () => {
    receiver.reply({ after_ms: 200 })
    const from = receiver.requests.length
    const ids = await submit(25)
    await receiver.until(() => receiver.requests.length >= from + 20)
    const thaw = freeze(deployment.databasePid())
    const began = performance.now()
    const refused = await Promise.all(Array.from({ length: 20 }, (_, i) => trySubmit(i, {})))
    expect(refused.map(({ status }) => status)).toEqual(Array.from({ length: 20 }, () => 503))
    expect(performance.now() - began).toBeLessThan(20_000)
    thaw()
    expect((await trySubmit(0, {})).status).toBe(202)
    const attempts = await allServed(ids)
    expectSound(ids, attempts)
    const delivered = receiver.requests.slice(from).map(({ headers }) => headers['idempotency-key'])
    expect(new Set(delivered).size).toBe(delivered.length)
  }, 150_000)
})

describe('kill -9', () => {
  it('of the worker before, during and after a send', async () => {
    let released = () => {}
    const killed = new Promise<void>((resolve) => {
      released = resolve
    })
    // The first sends are answered, the next ones hang until their worker is dead, the rest has not begun.
    receiver.reply(async (_request, index) => {
      if (index >= 30) await killed
      return {}
    })
    const from = receiver.requests.length
    const ids = await submit(60)
    await receiver.until(() => receiver.requests.length >= from + 44)
    await expect
      .poll(async () => (await attemptsOf(ids)).filter((attempt) => attempt.status === 'success').length)
      .toBeGreaterThanOrEqual(15)
    const before = await attemptsOf(ids)
    await worker.kill9()
    released()
    worker = await deployment.startWorker()
    const attempts = await allServed(ids)
    expectSound(ids, attempts)
    const done = before.filter((attempt) => attempt.status === 'success')
    expect(done.length).toBeGreaterThan(0)
    for (const { delivery_id } of done) {
      expect(receiver.requests.filter((request) => request.headers['idempotency-key'] === delivery_id)).toHaveLength(1)
    }
    const lost = attempts.filter((attempt) => attempt.retry_reason === 'WORKER_LOST')
    expect(lost.length).toBeGreaterThan(0)
  }, 150_000)

  it('of Temporal in mid-run', async () => {
    receiver.reply({ after_ms: 40 })
    const from = receiver.requests.length
    const ids = await submit(25)
    await receiver.until(() => receiver.requests.length >= from + 20)
    await deployment.killTemporal()
    await sleep(500)
    await deployment.restartTemporal()
    expectSound(ids, await allServed(ids))
  }, 150_000)

  it('of PostgreSQL in mid-run', async () => {
    receiver.reply({ after_ms: 40 })
    const from = receiver.requests.length
    const ids = await submit(25)
    await receiver.until(() => receiver.requests.length >= from + 20)
    await deployment.killPostgres()
    await sleep(500)
    await deployment.restartPostgres()
    expectSound(ids, await allServed(ids))
  }, 150_000)

  it('of the API between the row and the start', async () => {
    receiver.reply({})
    // The row is written, the start hangs: nothing of it has reached Temporal when the API dies.
    deployment.temporalProxy.cut()
    const ids = await submit(5)
    await api.kill9()
    await worker.kill9()
    deployment.temporalProxy.mend()
    ;[api, worker] = await Promise.all([deployment.startApi(), deployment.startWorker()])
    expectSound(ids, await allServed(ids))
  }, 150_000)

  it('of Temporal with all its data: open jobs are taken up again from their rows', async () => {
    receiver.reply((request) => ({ status: request.path === '/0' ? 503 : 200, headers: { 'retry-after': '3' } }))
    const ids = await submit(3)
    await expect
      .poll(async () => (await attemptsOf(ids)).filter((attempt) => attempt.job_status === 'completed').length)
      .toBe(2)
    await deployment.killTemporal()
    await deployment.restartTemporal({ forget: true })
    await worker.kill9()
    receiver.reply({})
    worker = await deployment.startWorker()
    expectSound(ids, await allServed(ids))
  }, 150_000)

  it('SIGTERM under load: sends in flight finish, nothing is lost or doubled, exit code 0', async () => {
    receiver.reply({ after_ms: 300 })
    const from = receiver.requests.length
    const ids = await submit(50)
    await receiver.until(() => receiver.requests.length >= from + 20)
    const code = await worker.terminate()
    expect(code).toBe(0)
    expect((await attemptsOf(ids)).filter((attempt) => attempt.status === 'processing')).toEqual([])
    worker = await deployment.startWorker()
    const attempts = await allServed(ids)
    expectSound(ids, attempts)
    expect(attempts).toHaveLength(ids.length)
    expect(receiver.requests.length - from).toBe(ids.length)
  }, 150_000)

  it('the API goes with SIGTERM and exit code 0', async () => {
    expect(await api.terminate()).toBe(0)
  })
})
