// Mail that the server defers for minutes. The retry delays of the protocol are shortened three hundred times.
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { backoffFor } from '../../activities/delivery/backoff.ts'
import type { DistributionRef } from '../../workflows/messages.ts'
import { type SmtpReceiver, startSmtpReceiver } from '../support/receivers/smtp.ts'
import { createTestSystem, type TestSystem } from '../support/system.ts'

const FASTER = 300

let system: TestSystem
const receivers: SmtpReceiver[] = []

beforeAll(async () => {
  system = await createTestSystem({
    backoffFor(protocol, configuration) {
      const { first_ms, max_ms, delays_ms } = backoffFor(protocol, configuration)
      return {
        first_ms: first_ms / FASTER,
        max_ms: max_ms / FASTER,
        ...(delays_ms && { delays_ms: delays_ms.map((delay) => delay / FASTER) }),
      }
    },
  })
  await system.tenant('acme')
  await system.startWorkers()
})
afterAll(() => system.close())
afterEach(async () => {
  await Promise.all(receivers.splice(0).map((receiver) => receiver.close()))
})

/** Puts every recipient off until `minutes` have passed since the first was asked about, a minute being shorter here. */
async function greylisting(minutes: number, reply: string): Promise<SmtpReceiver> {
  let since: number | undefined
  const receiver = await startSmtpReceiver({
    answer(line) {
      if (!line.startsWith('RCPT')) return undefined
      since ??= performance.now()
      return performance.now() - since < (minutes * 60_000) / FASTER ? reply : undefined
    },
  })
  receivers.push(receiver)
  return receiver
}

function mail(receiver: SmtpReceiver): Promise<DistributionRef> {
  const configuration = {
    host: '127.0.0.1',
    port: receiver.port,
    security: 'none',
    from: 'reports@sender.test',
    to: ['ann@example.test', 'bob@example.test'],
  }
  return system.distribute({ destinations: [{ name: 'mail', protocol: 'EMAIL', configuration }] })
}

describe('greylisting', () => {
  it.each([
    [1, '450 4.2.0 Greylisted'],
    [5, '451 4.7.1 try again later'],
    [15, '450 Greylisted'],
  ])('for %i minutes is survived with the usual retries: «%s»', async (minutes, reply) => {
    const receiver = await greylisting(minutes, reply)
    const ref = await mail(receiver)
    await expect.poll(async () => (await system.job(ref)).status, { timeout: 25_000 }).toBe('completed')
    expect(receiver.mails.map(({ recipients }) => recipients)).toEqual([['ann@example.test', 'bob@example.test']])
  })
})
