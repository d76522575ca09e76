// Failover and load balancing with several worker processes, which are killed during a failover.
import pg from 'pg'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { type ApiCall, apiClient } from '../support/api-client.ts'
import { type Deployment, type Running, startDeployment } from '../support/deployment.ts'
import { type HttpReceiver, startHttpReceiver } from '../support/receivers/http.ts'

let deployment: Deployment
let call: ApiCall
let workers: Running[]
let receiver: HttpReceiver

beforeAll(async () => {
  deployment = await startDeployment()
  receiver = await startHttpReceiver()
  const api = await deployment.startApi()
  workers = await Promise.all([deployment.startWorker(), deployment.startWorker()])
  call = apiClient(api.url, deployment.apiKey)
  for (const name of ['first', 'second', 'third']) {
    const configuration = { endpoint: `${receiver.url}/${name}` }
    await call('POST', '/destinations/register', { name, protocol: 'REST', configuration })
  }
})
afterAll(async () => {
  await deployment?.close()
  await receiver?.close()
})

async function submit(count: number): Promise<string[]> {
  const answers = await Promise.all(
    Array.from({ length: count }, (_, i) =>
      call('POST', '/distribution/submit', { data_type: 'report', payload: { i }, options: { timeout_seconds: 600 } }),
    ),
  )
  return answers.map(({ distribution_id }) => distribution_id as string)
}

interface Row {
  distribution_id: string
  job_status: string
  name: string
  status: string
  error_code: string | null
  attempts: number
  delivery_id: string
}

async function rowsOf(ids: string[]): Promise<Row[]> {
  const client = new pg.Client({ connectionString: deployment.databaseUrl })
  await client.connect()
  try {
    const { rows } = await client.query<Row>(
      `select j.distribution_id, j.status as job_status, d.destination_name as name, d.status, d.error_code, d.attempts,
              d.delivery_id
         from distribution_jobs j left join distribution_deliveries d on d.distribution_job_id = j.id
        where j.distribution_id = any ($1) order by j.id, d.position`,
      [ids],
    )
    return rows
  } finally {
    await client.end()
  }
}

async function allCompleted(ids: string[]): Promise<Row[]> {
  await expect
    .poll(async () => (await rowsOf(ids)).filter(({ job_status }) => job_status !== 'completed').length, {
      timeout: 100_000,
      interval: 250,
    })
    .toBe(0)
  return await rowsOf(ids)
}

it('when workers are killed after a failure, the next destination takes over and no later one is used', async () => {
  const actions = { destinations: ['first', 'second', 'third'], strategy: 'failover' }
  await call('POST', '/rules', { name: 'group', rule_type: 'routing', actions })
  receiver.reply(({ path }) => (path === '/first' ? { status: 422 } : { after_ms: 20 }))
  const ids = await submit(40)
  // In the middle: some have been refused and not yet taken over, some are under way, some have not begun.
  await receiver.until(({ requests }) => requests.filter(({ path }) => path === '/second').length >= 5, 60_000)
  await Promise.all(workers.map((worker) => worker.kill9()))
  const between = (await rowsOf(ids)).filter(({ name, status }) => name === 'first' && status === 'failed')
  workers = await Promise.all([deployment.startWorker(), deployment.startWorker()])
  const rows = await allCompleted(ids)
  expect(between.length).toBeGreaterThan(0)
  for (const id of ids) {
    const own = rows.filter(({ distribution_id }) => distribution_id === id)
    expect(own.map(({ name, status, error_code }) => [name, status, error_code])).toEqual([
      ['first', 'failed', 'REJECTED'],
      ['second', 'success', null],
      ['third', 'skipped', null],
    ])
    for (const { delivery_id, attempts } of own) {
      const seen = receiver.requests.filter(({ headers }) => headers['idempotency-key'] === delivery_id).length
      expect(seen).toBeLessThanOrEqual(attempts)
    }
  }
  expect(receiver.requests.filter(({ path }) => path === '/third')).toEqual([])
}, 150_000)

it('load balance gives each destination the same number of distributions across all workers', async () => {
  await call('PUT', '/rules/group', {
    actions: { destinations: ['first', 'second', 'third'], strategy: 'load_balance' },
  })
  receiver.reply({})
  const ids = await submit(30)
  const rows = await allCompleted(ids)
  const counts = ['first', 'second', 'third'].map((one) => rows.filter(({ name }) => name === one).length)
  expect(counts).toEqual([10, 10, 10])
}, 120_000)
