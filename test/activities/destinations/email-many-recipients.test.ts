// Servers that accept only some recipients in one transaction.
import { describe, expect, it } from 'vitest'
import type { DeliveryError } from '../../../activities/destinations/errors.ts'
import type { SmtpScript } from '../../support/receivers/smtp.ts'
import { aConfig, failed, scripted, send } from './mailing.ts'

const FORTY_FIVE = Array.from({ length: 45 }, (_, at) => `r${at}@example.test`)

/** Accepts `most` recipients in each transaction, and answers the others with `reply`. */
function takesAtMost(most: number, reply: string, besides: SmtpScript['answer'] = () => undefined): SmtpScript {
  let taken = 0
  return {
    answer(line, connection) {
      if (line.startsWith('MAIL')) taken = 0
      const own = besides(line, connection)
      if (own !== undefined || !line.startsWith('RCPT')) return own
      if (taken === most) return reply
      taken += 1
      return undefined
    },
  }
}

function recipientsOf(mails: { recipients: string[] }[]): string[] {
  return mails.flatMap(({ recipients }) => recipients)
}

function statusesOf(error: DeliveryError): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const { status } of error.metadata!.recipients as { status: string }[])
    counts[status] = (counts[status] ?? 0) + 1
  return counts
}

describe('recipients beyond the limit of a transaction', () => {
  it.each([
    '552 5.5.3 too many recipients',
    '452 4.5.3 too many recipients',
    '552 too many recipients',
    '452 too many recipients',
    '550 5.5.3 too many recipients',
    '554 5.5.3 too many recipients',
    '451 4.5.3 too many recipients',
    '452 4.5.3',
    '452-4.5.3 too many\r\n452 4.5.3 recipients',
  ])('get the mail in further transactions of the same attempt: «%s»', async (reply) => {
    const server = await scripted(takesAtMost(10, reply))
    const receipt = await send(aConfig(server.port, { to: FORTY_FIVE }))
    expect(recipientsOf(server.mails)).toEqual(FORTY_FIVE)
    expect(server.mails.map(({ recipients }) => recipients.length)).toEqual([10, 10, 10, 10, 5])
    expect(new Set(server.mails.map(({ data }) => data.toString())).size).toBe(1)
    expect(server.connections.total).toBe(1)
    expect(receipt.metadata!.recipients).toEqual(
      FORTY_FIVE.map((address) => ({ address, status: 'accepted', code: 250, reply: '2.0.0 OK', attempt: 1 })),
    )
  })

  it('are not refused again: the limit is remembered for the next transaction and mail', async () => {
    const server = await scripted(takesAtMost(10, '452 4.5.3 too many recipients'))
    await send(aConfig(server.port, { to: FORTY_FIVE }))
    await send(aConfig(server.port, { to: FORTY_FIVE.slice(0, 25) }))
    // One refusal taught the limit.
    expect(server.commands.filter((line) => line.startsWith('RCPT'))).toHaveLength(45 + 1 + 25)
  })

  it('get the mail one by one from a server that accepts one', async () => {
    const server = await scripted(takesAtMost(1, '452 4.5.3 too many recipients'))
    const to = Array.from({ length: 100 }, (_, at) => `r${at}@example.test`)
    await send(aConfig(server.port, { to }))
    expect(recipientsOf(server.mails)).toEqual(to)
  })

  it.each(['DATA', '.'])('get the mail also from a server that refuses late, after %s', async (command) => {
    let named = 0
    const server = await scripted({
      answer(line) {
        if (line.startsWith('MAIL')) named = 0
        if (line.startsWith('RCPT')) named += 1
        return line === command && named > 10 ? '554 5.5.3 too many recipients' : undefined
      },
    })
    await send(aConfig(server.port, { to: FORTY_FIVE }))
    expect(recipientsOf(server.mails)).toEqual(FORTY_FIVE)
  })

  it('are deferred when even the first is too many, and the others are not asked about', async () => {
    for (const reply of ['552 5.5.3 too many recipients', '452 4.5.3 too many recipients']) {
      const server = await scripted({
        answer: (line, connection) => (line.startsWith('RCPT') && connection === 1 ? reply : undefined),
      })
      const error = await failed(aConfig(server.port, { to: FORTY_FIVE.slice(0, 3) }))
      expect(error).toMatchObject({ code: 'THROTTLED', retryable: true })
      expect(statusesOf(error)).toEqual({ deferred: 3 })
      expect(server.commands.filter((line) => line.startsWith('MAIL'))).toHaveLength(1)
    }
  })

  it('are deferred when the server accepts no more for now; a retry goes to them only', async () => {
    const once = takesAtMost(10, '452 4.5.3 too many recipients')
    let transactions = 0
    const server = await scripted({
      answer(line, connection) {
        if (line.startsWith('MAIL')) transactions += 1
        return line.startsWith('RCPT') && transactions > 2 ? '452 4.5.3 enough' : once.answer!(line, connection)
      },
    })
    const config = aConfig(server.port, { to: FORTY_FIVE })
    const error = await failed(config)
    expect(error).toMatchObject({ code: 'THROTTLED', retryable: true, answered: true })
    expect(statusesOf(error)).toEqual({ accepted: 20, deferred: 25 })
    server.script({})
    await send(config, { attempt_number: 2, progress: JSON.parse(JSON.stringify(error.progress)) })
    expect(recipientsOf(server.mails)).toEqual(FORTY_FIVE)
  })
})

describe('a full mailbox or disk is not a limit on recipients', () => {
  it.each([
    ['552 5.2.2 mailbox full', 'REJECTED', 'refused', 1],
    ['452 4.2.2 mailbox full', 'THROTTLED', 'deferred', 1],
    ['452 4.3.1 insufficient storage', 'THROTTLED', 'deferred', 1],
    ['552 mailbox full', 'REJECTED', 'refused', 2],
    ['452 mailbox full', 'THROTTLED', 'deferred', 2],
  ])('«%s» for one of three means %s for that one only', async (reply, code, status, transactions) => {
    const server = await scripted({ answer: (line) => (line.startsWith('RCPT TO:<r1@') ? reply : undefined) })
    const error = await failed(aConfig(server.port, { to: FORTY_FIVE.slice(0, 3) }))
    expect(error).toMatchObject({ code, retryable: status === 'deferred' })
    expect(statusesOf(error)).toEqual({ accepted: 2, [status]: 1 })
    expect(server.mails.map(({ recipients }) => recipients.length)).toHaveLength(transactions)
    // No limit was learned from it: the next mail goes in one transaction.
    server.script({})
    await send(aConfig(server.port, { to: FORTY_FIVE }))
    expect(server.mails.at(-1)!.recipients).toEqual(FORTY_FIVE)
  })

  it('a server that accepts only the first recipient is asked twice, not without end', async () => {
    const server = await scripted({
      answer: (line) => (line.startsWith('RCPT') && !line.includes('<r0@') ? '452 no room' : undefined),
    })
    const error = await failed(aConfig(server.port, { to: FORTY_FIVE }))
    expect(statusesOf(error)).toEqual({ accepted: 1, deferred: 44 })
    expect(server.commands.filter((line) => line.startsWith('MAIL'))).toHaveLength(2)
  })

  it('a mail that is refused as a whole after some have it defers or refuses only the others', async () => {
    for (const [reply, status] of [
      ['451 4.3.0 later', 'deferred'],
      ['554 5.7.1 spam', 'refused'],
    ] as const) {
      let mails = 0
      const server = await scripted(
        takesAtMost(10, '452 4.5.3 too many', (line) => {
          if (line === '.') mails += 1
          return line === '.' && mails > 2 ? reply : undefined
        }),
      )
      const error = await failed(aConfig(server.port, { to: FORTY_FIVE }))
      expect(statusesOf(error)).toEqual({ accepted: 20, [status]: 25 })
    }
  })
})

describe('a server that limits a connection', () => {
  it.each([
    ['MAIL', '550 5.7.0 one mail per connection'],
    ['MAIL', '421 4.7.0 too many mails on this connection'],
    ['RCPT', '421 4.7.0 too many recipients on this connection'],
    ['RCPT', '452 4.5.3 too many recipients on this connection'],
  ])('gets the others on further connections of the same attempt: %s is answered with «%s»', async (command, reply) => {
    const taken = new Map<number, number>()
    const server = await scripted(
      takesAtMost(10, '452 4.5.3 too many', (line, connection) => {
        if (line === '.') taken.set(connection, 1)
        return taken.has(connection) && line.startsWith(command) ? reply : undefined
      }),
    )
    await send(aConfig(server.port, { to: FORTY_FIVE }))
    expect(recipientsOf(server.mails)).toEqual(FORTY_FIVE)
    expect(server.connections.total).toBe(5)
  })

  it('and accepts nothing on the next one defers the rest', async () => {
    let mails = 0
    const server = await scripted(
      takesAtMost(10, '452 4.5.3 too many', (line) => {
        if (line.startsWith('MAIL')) mails += 1
        return line.startsWith('MAIL') && mails > 1 ? '421 4.7.0 enough' : undefined
      }),
    )
    const error = await failed(aConfig(server.port, { to: FORTY_FIVE }))
    expect(error).toMatchObject({ code: 'THROTTLED', retryable: true })
    expect(statusesOf(error)).toEqual({ accepted: 10, deferred: 35 })
    expect(server.connections.total).toBe(2)
  })
})

describe('the outcome of each recipient when a later transaction fails', () => {
  it.each([
    ['RCPT', { accepted: 10, deferred: 35 }],
    ['DATA', { accepted: 10, deferred: 35 }],
    ['.', { accepted: 10, unknown: 10, deferred: 25 }],
  ])('at %s', async (command, counts) => {
    let mails = 0
    const server = await scripted(
      takesAtMost(10, '452 4.5.3 too many', (line) => {
        if (line.startsWith('MAIL')) mails += 1
        return mails === 2 && line.startsWith(command) ? 'reset' : undefined
      }),
    )
    const error = await failed(aConfig(server.port, { to: FORTY_FIVE }))
    expect(error).toMatchObject({ code: 'DESTINATION_UNAVAILABLE', retryable: true })
    expect(statusesOf(error)).toEqual(counts)
  })

  it('at the deadline of the attempt', async () => {
    let mails = 0
    const server = await scripted(
      takesAtMost(10, '452 4.5.3 too many', (line) => {
        if (line.startsWith('MAIL')) mails += 1
        return mails === 3 ? 'hang' : undefined
      }),
    )
    const error = await failed(aConfig(server.port, { to: FORTY_FIVE, timeout_seconds: 0.9 }))
    expect(error).toMatchObject({ code: 'TIMEOUT' })
    expect(statusesOf(error)).toEqual({ accepted: 20, deferred: 25 })
  })
})
