// One mail to several recipients, of whom only some accept it: over several attempts, manual retries and a database
// that becomes unavailable.
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { closeLostAttempt } from '../../db/distributions/attempts.ts'
import { requestCancel, requestRetry } from '../../db/distributions/commands.ts'
import { jobId } from '../../db/distributions/job-id.ts'
import type { DistributionRef } from '../../workflows/messages.ts'
import { startProxy, type TcpProxy } from '../support/proxy.ts'
import { type SmtpReceiver, type SmtpScript, startSmtpReceiver } from '../support/receivers/smtp.ts'
import { ABOUT, createTestSystem, type TestSystem } from '../support/system.ts'

let system: TestSystem
let database: TcpProxy
const receivers: SmtpReceiver[] = []

beforeAll(async () => {
  system = await createTestSystem({
    timing: { close_within_ms: 300 },
    async workerDatabaseUrl(url) {
      const direct = new URL(url)
      database = await startProxy({ host: direct.hostname, port: Number(direct.port) })
      direct.hostname = '127.0.0.1'
      direct.port = String(database.port)
      return direct.href
    },
  })
  await system.tenant('acme')
  await system.startWorkers()
})
afterAll(async () => {
  await system.close()
  await database.close()
})
afterEach(async () => {
  database.mend()
  await Promise.all(receivers.splice(0).map((receiver) => receiver.close()))
})

async function aReceiver(script: SmtpScript = {}): Promise<SmtpReceiver> {
  const receiver = await startSmtpReceiver(script)
  receivers.push(receiver)
  return receiver
}

/** One mail to ann and bob. */
function mail(receiver: SmtpReceiver, job: { max_retries?: number } = {}): Promise<DistributionRef> {
  const configuration = {
    host: '127.0.0.1',
    port: receiver.port,
    security: 'none',
    from: 'reports@sender.test',
    to: ['ann@example.test', 'bob@example.test'],
  }
  return system.distribute({ ...job, destinations: [{ name: 'mail', protocol: 'EMAIL', configuration }] })
}

async function retryByHand(ref: DistributionRef, force = false): Promise<void> {
  const outcome = await system.as(ref.tenant_id, (db) => requestRetry(db, jobId(ref.distribution_id), { force }))
  expect(outcome).toMatchObject({ outcome: 'reset' })
  await system.runs.signalRetry(ref, ABOUT)
}

function recipients(receiver: SmtpReceiver): string[] {
  return receiver.mails.flatMap((each) => each.recipients.map((address) => address.split('@')[0]!)).sort()
}

/** Puts this recipient off the first time. */
function greylisting(name: string, besides: (line: string) => void = () => {}): SmtpScript['answer'] {
  let asked = 0
  return (line) => {
    besides(line)
    if (line.startsWith(`RCPT TO:<${name}@`)) asked += 1
    return line.startsWith(`RCPT TO:<${name}@`) && asked === 1 ? '450 4.7.1 greylisted' : undefined
  }
}

function statuses(metadata: Record<string, unknown>): [string, string, number | null][] {
  return (metadata.recipients as { address: string; status: string; code: number | null }[]).map((each) => [
    each.address.split('@')[0]!,
    each.status,
    each.code,
  ])
}

describe('a mail to two recipients', () => {
  it('of whom one is deferred reaches each exactly once after the retry', async () => {
    const receiver = await aReceiver({ answer: greylisting('bob') })
    const ref = await mail(receiver)
    expect(await system.ended(ref)).toMatchObject({ status: 'completed', retry_count: 1 })
    expect(recipients(receiver)).toEqual(['ann', 'bob'])
    const [delivery] = await system.deliveries(ref)
    for (const { data } of receiver.mails) {
      expect(data.toString()).toContain(`Message-ID: <${delivery!.delivery_id}@sender.test>`)
    }
    const [first, second] = await system.attempts(ref)
    expect(first).toMatchObject({
      status: 'retry',
      retry_reason: 'DESTINATION_UNAVAILABLE',
      error_message: 'the server deferred 1 of 2 recipients (450)',
      response_status_code: 450,
      response_body: '4.7.1 greylisted',
    })
    expect(statuses(first!.metadata)).toEqual([
      ['ann', 'accepted', 250],
      ['bob', 'deferred', 450],
    ])
    expect(second).toMatchObject({ status: 'success', response_status_code: 250 })
    expect(statuses(second!.metadata)).toEqual([
      ['ann', 'accepted', 250],
      ['bob', 'accepted', 250],
    ])
  })

  it('opens no circuit when one recipient is deferred again and again', async () => {
    const receiver = await aReceiver({ answer: (line) => (line.startsWith('RCPT TO:<bob') ? '450 full' : undefined) })
    for (let i = 0; i < 7; i++) {
      const ref = await mail(receiver, { max_retries: 0 })
      expect(await system.ended(ref)).toMatchObject({ status: 'failed', error_code: 'DESTINATION_UNAVAILABLE' })
    }
    expect(recipients(receiver)).toHaveLength(7)
    const { rows } = await system.as('acme', (db) =>
      db.query('select from destination_circuits where target = $1', [`EMAIL://127.0.0.1:${receiver.port}`]),
    )
    expect(rows).toEqual([])
  })

  it('of whom one is rejected is not a plain success; a manual retry goes to that recipient only', async () => {
    const receiver = await aReceiver({ answer: (line) => (line.startsWith('RCPT TO:<bob') ? '550 nobody' : undefined) })
    const ref = await mail(receiver)
    expect(await system.ended(ref)).toMatchObject({ status: 'failed', error_code: 'REJECTED', retry_count: 0 })
    const [attempt] = await system.attempts(ref)
    expect(attempt).toMatchObject({ status: 'failed', retry_reason: 'REJECTED', response_status_code: 550 })
    expect(statuses(attempt!.metadata)).toEqual([
      ['ann', 'accepted', 250],
      ['bob', 'refused', 550],
    ])
    receiver.script({})
    await retryByHand(ref)
    await expect.poll(async () => (await system.job(ref)).status).toBe('completed')
    expect(recipients(receiver)).toEqual(['ann', 'bob'])
  })

  it('keeps the accepted recipients after an attempt that never reached the server', async () => {
    const receiver = await aReceiver({
      answer(line) {
        // After the mail to ann, the server is away.
        if (line === '.')
          receiver.script({ greeting: 'drop', answer: (next) => (next === 'RSET' ? 'drop' : undefined) })
        return line.startsWith('RCPT TO:<bob') ? '450 greylisted' : undefined
      },
    })
    const ref = await mail(receiver)
    await receiver.until(({ connections }) => connections.total === 2)
    receiver.script({})
    expect(await system.ended(ref)).toMatchObject({ status: 'completed' })
    expect(recipients(receiver)).toEqual(['ann', 'bob'])
    const attempts = await system.attempts(ref)
    expect(attempts.map(({ retry_reason }) => retry_reason)).toEqual([
      'DESTINATION_UNAVAILABLE',
      'DESTINATION_UNAVAILABLE',
      null,
    ])
    expect(attempts[1]!.metadata).toEqual({})
  })

  it('goes to no recipient twice when its worker was declared lost but still reported', async () => {
    const receiver = await aReceiver({
      answer(line, connection) {
        if (connection > 1) return undefined
        return line.startsWith('RCPT TO:<bob') ? '450 greylisted' : line === '.' ? 'hang' : undefined
      },
    })
    const ref = await mail(receiver)
    await receiver.until(({ mails }) => mails.length === 1)
    await system.as('acme', (db) => closeLostAttempt(db, jobId(ref.distribution_id), 'mail'))
    receiver.say('250 OK')
    expect(await system.ended(ref)).toMatchObject({ status: 'completed' })
    expect(recipients(receiver)).toEqual(['ann', 'bob'])
    const [first] = await system.attempts(ref)
    expect(first).toMatchObject({ status: 'retry', retry_reason: 'WORKER_LOST' })
    expect(statuses(first!.metadata)).toEqual([
      ['ann', 'accepted', 250],
      ['bob', 'deferred', 450],
    ])
  })

  it('that is cancelled half-way shows who received it; a manual retry goes to the other only', async () => {
    let asked = 0
    const receiver = await aReceiver({
      answer(line) {
        if (!line.startsWith('RCPT TO:<bob')) return undefined
        asked += 1
        return asked === 1 ? '450 greylisted' : 'hang'
      },
    })
    const ref = await mail(receiver)
    await receiver.until(() => asked === 2)
    await system.as('acme', (db) => requestCancel(db, jobId(ref.distribution_id), null))
    await system.runs.signalCancel(ref, ABOUT)
    expect(await system.ended(ref)).toMatchObject({ status: 'cancelled' })
    const [first, second] = await system.attempts(ref)
    expect(statuses(first!.metadata)).toEqual([
      ['ann', 'accepted', 250],
      ['bob', 'deferred', 450],
    ])
    expect(second).toMatchObject({ status: 'cancelled', retry_reason: 'CANCELLED', metadata: { outcome: 'unknown' } })
    receiver.script({})
    await retryByHand(ref)
    await expect.poll(async () => (await system.job(ref)).status).toBe('completed')
    expect(recipients(receiver)).toEqual(['ann', 'bob'])
  })

  it('is another mail to both when the retry is forced', async () => {
    const receiver = await aReceiver({ answer: greylisting('bob') })
    const ref = await mail(receiver)
    await system.ended(ref)
    await retryByHand(ref, true)
    await receiver.until(({ mails }) => mails.length === 3)
    await expect.poll(async () => (await system.job(ref)).status).toBe('completed')
    expect(recipients(receiver)).toEqual(['ann', 'ann', 'bob', 'bob'])
    const ids = receiver.mails.map(({ data }) => /^Message-ID: (.*)\r$/m.exec(data.toString())![1])
    expect(ids[1]).toBe(ids[0])
    expect(ids[2]).not.toBe(ids[0])
  })

  it('goes to no recipient twice when the database fails before the outcome is stored', async () => {
    let cut = false
    const receiver = await aReceiver({
      answer: greylisting('bob', (line) => {
        if (line !== '.' || cut) return
        cut = true
        database.cut()
      }),
    })
    const ref = await mail(receiver)
    await expect
      .poll(() => system.log.some((line) => String(line.msg).includes('records its outcome')), { timeout: 15_000 })
      .toBe(true)
    database.mend()
    expect(await system.ended(ref)).toMatchObject({ status: 'completed' })
    expect(recipients(receiver)).toEqual(['ann', 'bob'])
  })
})
