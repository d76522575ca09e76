// Kill -9 of the worker that runs the trial delivery of a circuit, or that holds the only slot of a destination. Both are
// leases that expire, so other workers continue.
import pg from 'pg'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { type ApiCall, apiClient } from '../support/api-client.ts'
import { type Deployment, type Running, startDeployment } from '../support/deployment.ts'
import { type HttpReceiver, startHttpReceiver } from '../support/receivers/http.ts'

let deployment: Deployment
let call: ApiCall
let worker: Running
let receiver: HttpReceiver
let rows: pg.Client

beforeAll(async () => {
  deployment = await startDeployment()
  receiver = await startHttpReceiver()
  const api = await deployment.startApi()
  worker = await deployment.startWorker()
  call = apiClient(api.url, deployment.apiKey)
  rows = new pg.Client({ connectionString: deployment.databaseUrl })
  await rows.connect()
})
afterAll(async () => {
  await rows?.end()
  await deployment?.close()
  await receiver?.close()
})

const register = (name: string, limits: Record<string, unknown>) =>
  call('POST', '/destinations/register', {
    name,
    protocol: 'REST',
    configuration: { endpoint: `${receiver.url}/${name}`, timeout_seconds: 4 },
    ...limits,
  })

async function submit(destination: string, options = {}): Promise<string> {
  const { distribution_id } = await call('POST', '/distribution/submit', {
    data_type: 'report',
    payload: {},
    destinations: [destination],
    options: { timeout_seconds: 600, ...options },
  })
  return distribution_id as string
}

const statusOf = async (id: string) => (await call('GET', `/distribution/${id}/status`)).status
const eventually = (id: string, status: string) =>
  expect.poll(() => statusOf(id), { timeout: 60_000, interval: 250 }).toBe(status)
const arrived = (path: string, count: number) =>
  receiver.until(({ requests }) => requests.filter((request) => request.path === path).length >= count, 30_000)

it('the next one tries when the lease is over, also when the one who had it was cancelled', async () => {
  receiver.reply({ status: 503 })
  await register('tried', { circuit_breaker: { failures: 1, open_seconds: 1 } })
  await register('narrow', { max_concurrency: 1 })
  await eventually(await submit('tried', { max_retries: 0 }), 'failed')
  const { circuit } = await call('GET', '/destinations/tried')
  expect(circuit).toMatchObject({ consecutive_failures: 1, opened_at: expect.any(String) })
  receiver.reply({ stall: 'headers' })
  const [tries, holds] = [await submit('tried'), await submit('narrow')]
  await Promise.all([arrived('/tried', 2), arrived('/narrow', 1)])
  const [next, second] = [await submit('tried'), await submit('narrow')]
  await worker.kill9()
  receiver.reply({})
  const killedAt = Date.now()
  // Neither is free as long as the dead worker might still be sending.
  const leases = await rows.query(
    `select (select probe_until > clock_timestamp() from destination_circuits) as tried,
            (select held_until > clock_timestamp() from destination_slots) as held`,
  )
  expect(leases.rows).toEqual([{ tried: true, held: true }])
  worker = await deployment.startWorker()
  await call('POST', `/distribution/${tries}/cancel`)

  for (const id of [next, holds, second]) await eventually(id, 'completed')
  // The deadline of 4 s and the margin of 12 s that test/support/worker-program.ts gives, less what ran before the kill.
  expect(Date.now() - killedAt).toBeGreaterThan(10_000)
  await eventually(tries, 'cancelled')
  const left = await rows.query(
    `select target from destination_circuits
     union all select target from destination_slots where holder is not null`,
  )
  expect(left.rows).toEqual([])
  // And those that come now need not wait at all.
  for (const name of ['tried', 'narrow']) await eventually(await submit(name), 'completed')
  const attempts = await call('GET', `/distribution/${holds}/attempts`)
  expect(attempts).toMatchObject({
    attempts: [{ status: 'retry', retry_reason: 'WORKER_LOST' }, { status: 'success' }],
  })
}, 150_000)
