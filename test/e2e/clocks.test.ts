// Processes whose clocks are hours away from the database's, in either direction.
import { fileURLToPath, pathToFileURL } from 'node:url'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { type Deployment, type Running, startDeployment } from '../support/deployment.ts'
import { type HttpReceiver, startHttpReceiver } from '../support/receivers/http.ts'

const SHIFT = pathToFileURL(fileURLToPath(new URL('../support/shift-clock.mjs', import.meta.url))).href
const HOUR = 3600

let deployment: Deployment
let receiver: HttpReceiver
let owner: HttpReceiver
const running: Running[] = []

beforeAll(async () => {
  deployment = await startDeployment()
  receiver = await startHttpReceiver()
  owner = await startHttpReceiver()
})
afterEach(async () => {
  for (const program of running.splice(0)) await program.kill9()
})
afterAll(async () => {
  await deployment?.close()
  await receiver?.close()
  await owner?.close()
})

const shifted = (seconds: number) => ({
  NODE_OPTIONS: `${process.env.NODE_OPTIONS ?? ''} --import ${SHIFT}`,
  CLOCK_SHIFT_SECONDS: String(seconds),
})

async function json(url: string, init: RequestInit = {}) {
  const headers = { 'content-type': 'application/json', 'x-api-key': deployment.apiKey }
  const response = await fetch(url, { headers, ...init })
  // biome-ignore lint/suspicious/noExplicitAny: answers of several shapes
  return { status: response.status, body: (await response.json()) as any }
}

describe.each([
  ['two hours ahead', 2 * HOUR, 'twenty-six hours ahead', 26 * HOUR],
  ['three hours behind', -3 * HOUR, 'three hours behind', -3 * HOUR],
])('an API %s (%i s) and a worker %s (%i s)', (_api, apiShift, _worker, workerShift) => {
  it('are ready with a warning, keep the expiry, and retry a callback with the correct time in its headers', async () => {
    const [api, worker] = await Promise.all([
      deployment.startApi(shifted(apiShift)),
      deployment.startWorker(shifted(workerShift)),
    ])
    running.push(api, worker)
    await expect.poll(async () => (await json(`${api.url}/health/ready`)).status, { timeout: 20_000 }).toBe(200)
    for (const { url } of [api, worker]) {
      const { body } = await json(`${url}/health/ready`)
      expect(body.warnings).toEqual([expect.stringMatching(/clock of this machine is \d+ s (ahead of|behind)/)])
    }
    const said = deployment.output().filter((line) => line.includes('clock_ahead_seconds'))
    expect(said.length).toBeGreaterThanOrEqual(2)

    let calls = 0
    owner.reply(() => ({ status: calls++ === 0 ? 503 : 200 }))
    const first = owner.requests.length
    const real = Date.now()
    const submitted = await json(`${api.url}/api/v1/distribution/submit`, {
      method: 'POST',
      body: JSON.stringify({
        data_type: 'report',
        payload: { n: 1 },
        destinations: [{ name: 'a', protocol: 'REST', endpoint: receiver.url }],
        options: { timeout_seconds: 600, callback_url: owner.url },
      }),
    })
    expect(submitted.status).toBe(202)
    expect(Math.abs(Date.parse(submitted.body.estimated_completion) - real)).toBeLessThan(60_000)
    const status = async () =>
      (await json(`${api.url}/api/v1/distribution/${submitted.body.distribution_id}/status`)).body
    await expect.poll(async () => (await status()).status, { timeout: 20_000 }).toBe('completed')
    const { expires_at, submitted_at, completed_at } = await status()
    expect(Math.abs(Date.parse(expires_at) - Date.parse(submitted_at) - 600_000)).toBeLessThan(1000)
    for (const time of [submitted_at, completed_at]) expect(Math.abs(Date.parse(time) - real)).toBeLessThan(60_000)

    const called = (await owner.received(first + 2, 30_000)).slice(first)
    expect(new Set(called.map(({ headers }) => headers['webhook-id'])).size).toBe(1)
    for (const { headers } of called) {
      expect(Math.abs(Number(headers['webhook-timestamp']) * 1000 - real)).toBeLessThan(60_000)
    }
    const unknown = await json(`${api.url}/api/v1/nowhere`)
    expect(Math.abs(Date.parse(unknown.body.timestamp) - real)).toBeLessThan(60_000)
  }, 120_000)
})
