import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type HttpReceiver, startHttpReceiver } from '../../support/receivers/http.ts'
import { createTestSystem, restTo, type TestSystem } from '../../support/system.ts'

let system: TestSystem
let receiver: HttpReceiver
beforeAll(async () => {
  system = await createTestSystem()
  await system.tenant('acme')
  receiver = await startHttpReceiver()
  await system.startWorkers()
})
afterAll(async () => {
  await system.close()
  await receiver.close()
})

describe('a distribution', () => {
  it('to 1000 destinations serves each of them once', async () => {
    const names = Array.from({ length: 1000 }, (_, i) => `d${i}`)
    const ref = await system.distribute({ destinations: names.map((name) => restTo(name, `${receiver.url}/${name}`)) })
    await expect.poll(async () => (await system.job(ref)).status, { timeout: 400_000, interval: 250 }).toBe('completed')
    expect(receiver.requests.map((request) => request.path.slice(1)).sort()).toEqual([...names].sort())
    const attempts = await system.attempts(ref)
    expect(attempts).toHaveLength(1000)
    expect(attempts.every(({ attempt_number, status }) => attempt_number === 1 && status === 'success')).toBe(true)
  }, 450_000)
})
