// Failures at every step of an SMTP session, with a server that causes them on purpose.
import { randomUUID } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { compose } from '../../../activities/destinations/email/compose.ts'
import { email } from '../../../activities/destinations/email/index.ts'
import type { DeliveryError } from '../../../activities/destinations/errors.ts'
import { aMessage, failureOf, never, SECRET, surroundings } from './contract.ts'
import { aConfig, failed, probe, scripted, send } from './mailing.ts'

const LOGIN = { username: 'sender', password: SECRET }
const THREE = { to: ['ann@example.test', 'bob@example.test'], bcc: ['eve@example.test'] }

describe('a reply code', () => {
  it.each([
    ['the greeting', '', '554 no', 'REJECTED'],
    ['the greeting', '', '421 not now', 'THROTTLED'],
    ['EHLO', 'EHLO', '502 no', 'REJECTED'],
    ['MAIL FROM', 'MAIL', '451 not now', 'DESTINATION_UNAVAILABLE'],
    ['MAIL FROM', 'MAIL', '452 full', 'THROTTLED'],
    ['MAIL FROM', 'MAIL', '530 log in', 'UNAUTHORIZED'],
    ['MAIL FROM', 'MAIL', '550 no', 'REJECTED'],
    ['RCPT TO', 'RCPT', '450 greylisted', 'DESTINATION_UNAVAILABLE'],
    ['RCPT TO', 'RCPT', '421 bye', 'THROTTLED'],
    ['RCPT TO', 'RCPT', '550 nobody', 'REJECTED'],
    ['DATA', 'DATA', '451 not now', 'DESTINATION_UNAVAILABLE'],
    ['DATA', 'DATA', '554 no', 'REJECTED'],
    ['DATA', 'DATA', '250 what', 'DESTINATION_UNAVAILABLE'],
    ['the mail', '.', '452 full', 'THROTTLED'],
    ['the mail', '.', '451 not now', 'DESTINATION_UNAVAILABLE'],
    ['the mail', '.', '554 spam', 'REJECTED'],
  ])('to %s (%s), «%s» means %s', async (_, command, answer, code) => {
    const server = await scripted(
      command === '' ? { greeting: answer } : { answer: (line) => (line.startsWith(command) ? answer : undefined) },
    )
    const error = await failed(aConfig(server.port))
    expect(error).toMatchObject({ code, retryable: ['THROTTLED', 'DESTINATION_UNAVAILABLE'].includes(code) })
    expect(error.response).toEqual({ status: Number(answer.slice(0, 3)), body: answer.slice(4) })
    expect(server.mails).toEqual([])
  })

  it.each([
    ['535 wrong', 'UNAUTHORIZED'],
    ['534 too weak', 'UNAUTHORIZED'],
    ['501 what', 'UNAUTHORIZED'],
    ['454 not now', 'DESTINATION_UNAVAILABLE'],
    ['421 bye', 'THROTTLED'],
  ])('to AUTH, «%s» means %s, for delivery and probe', async (answer, code) => {
    const server = await scripted({
      extensions: ['AUTH PLAIN'],
      answer: (line) => (line.startsWith('AUTH') ? answer : undefined),
    })
    expect(await failed(aConfig(server.port, LOGIN))).toMatchObject({ code })
    expect(await failureOf(probe(aConfig(server.port, LOGIN)))).toMatchObject({ code })
    expect(server.commands.join()).not.toContain('MAIL')
  })

  it('is read from several lines, and in pieces', async () => {
    const server = await scripted({ greeting: '220-welcome\r\n220-to\r\n220 here', drip_ms: 1 })
    expect(await send(aConfig(server.port))).toMatchObject({ status: 250 })
  })

  it.each([
    ['no code', 'hello'],
    ['two codes', '220-a\r\n250 b'],
    ['no end', `220 ${'x'.repeat(100_000)}`],
  ])('that is not SMTP (%s) means an unavailable server', async (_, greeting) => {
    const server = await scripted({ greeting })
    expect(await failed(aConfig(server.port))).toMatchObject({ code: 'DESTINATION_UNAVAILABLE', retryable: true })
    await server.until(({ connections }) => connections.open === 0)
  })

  it('is stored shortened, without characters that PostgreSQL refuses', async () => {
    const server = await scripted({ answer: (line) => (line === '.' ? `554 a\0b\xff${'x'.repeat(5000)}` : undefined) })
    const { response } = await failed(aConfig(server.port))
    expect(response!.body).not.toContain('\0')
    expect(response!.body!.length).toBe(200)
  })

  it.each([199, 499])('is not cut within a character, which PostgreSQL would refuse: %i before it', async (length) => {
    const server = await scripted({
      answer: (line) => (line.startsWith('MAIL') ? `550 ${'x'.repeat(length)}😀` : undefined),
    })
    const { response, metadata } = await failed(aConfig(server.port))
    for (const text of [response!.body!, JSON.stringify(metadata)]) {
      expect(text).not.toMatch(/[\ud800-\udfff]|\\ud[89a-f]/)
    }
  })
})

describe('the deadline of an attempt', () => {
  it.each([
    ['greet', ''],
    ['answer EHLO', 'EHLO'],
    ['answer AUTH', 'AUTH'],
    ['answer MAIL FROM', 'MAIL'],
    ['answer RCPT TO', 'RCPT TO:<bob'],
    ['answer DATA', 'DATA'],
    ['confirm the mail', '.'],
  ])('covers a server that does not %s', async (what, command) => {
    const extensions = ['AUTH PLAIN']
    const server = await scripted(
      command === ''
        ? { greeting: 'hang' }
        : { extensions, answer: (line) => (line.startsWith(command) ? 'hang' : undefined) },
    )
    const error = await failed(aConfig(server.port, { ...LOGIN, ...THREE, timeout_seconds: 0.9 }))
    expect(error).toMatchObject({ code: 'TIMEOUT', message: `the destination did not ${what} within 1 s` })
    expect(error.metadata?.outcome).toBe(command === '.' ? 'unknown' : undefined)
    await server.until(({ connections }) => connections.open === 0)
  })

  it('covers the whole attempt, however often the server sends something', async () => {
    const server = await scripted({ drip_ms: 25 })
    expect(await failed(aConfig(server.port, { timeout_seconds: 0.6 }))).toMatchObject({ code: 'TIMEOUT' })
    await server.until(({ connections }) => connections.open === 0)
  })

  it('covers a server that does not read the mail', async () => {
    const server = await scripted({ deaf_after: 'DATA' })
    const body = Buffer.from(JSON.stringify({ text: 'x'.repeat(9_000_000) }))
    const error = await failed(aConfig(server.port, { timeout_seconds: 1.5 }), { body })
    expect(error).toMatchObject({
      code: 'TIMEOUT',
      message: 'the destination did not accept the bytes of the mail within 2 s',
    })
    expect(statuses(error)).toEqual({ ann: 'deferred' })
  })
})

describe('a kept connection', () => {
  it('serves the next mail', async () => {
    const server = await scripted()
    const config = aConfig(server.port)
    await send(config)
    await send(config)
    expect(server.connections.total).toBe(1)
    expect(server.commands.filter((line) => line === 'RSET')).toHaveLength(1)
    expect(server.mails).toHaveLength(2)
  })

  it('also after a refusal, of which nothing remains', async () => {
    const server = await scripted({ answer: (line) => (line.startsWith('RCPT TO:<ann') ? '550 nobody' : undefined) })
    expect(await failed(aConfig(server.port))).toMatchObject({ code: 'REJECTED' })
    await send(aConfig(server.port, { to: ['bob@example.test'] }))
    expect(server.connections.total).toBe(1)
    expect(server.mails.map((mail) => mail.recipients)).toEqual([['bob@example.test']])
  })

  it.each([
    ['was closed', 'hangUp'],
    ['no longer answers', 'hang'],
    ['answers 421', '421 idle for too long'],
  ] as const)('that %s is replaced within the attempt', async (_, what) => {
    const server = await scripted()
    const config = aConfig(server.port)
    await send(config)
    if (what === 'hangUp') {
      server.hangUp()
      await server.until(({ connections }) => connections.open === 0)
    } else server.script({ answer: (line, connection) => (connection === 1 && line === 'RSET' ? what : undefined) })
    expect(await send(config)).toMatchObject({ status: 250 })
    expect(server.connections.total).toBe(2)
    expect(server.mails).toHaveLength(2)
  })

  it('on which the server sent 421 unasked is replaced within the attempt', async () => {
    const server = await scripted()
    const config = aConfig(server.port)
    await send(config)
    server.say('421 4.4.2 idle for too long')
    // By the end of another session it has arrived.
    await send(config, { tenant_id: 'other' })
    await send(config)
    expect(server.connections.total).toBe(3)
    expect(server.mails).toHaveLength(3)
  })

  it('on which the server sent an unasked reply is not used again', async () => {
    const server = await scripted()
    const config = aConfig(server.port)
    await send(config)
    server.say('250 OK')
    await send(config, { tenant_id: 'other' })
    await send(config)
    expect(server.connections.total).toBe(3)
  })

  it('serves one tenant and one login only', async () => {
    const server = await scripted({ extensions: ['AUTH PLAIN'] })
    await send(aConfig(server.port))
    await send(aConfig(server.port), { tenant_id: 'other' })
    await send(aConfig(server.port, LOGIN))
    expect(server.connections.total).toBe(3)
  })
})

describe('a broken connection', () => {
  it.each(['drop', 'reset'] as const)('after the last byte (%s) leaves the outcome unknown', async (how) => {
    const server = await scripted({ answer: (line) => (line === '.' ? how : undefined) })
    const error = await failed(aConfig(server.port, THREE))
    expect(error).toMatchObject({
      code: 'DESTINATION_UNAVAILABLE',
      retryable: true,
      metadata: { outcome: 'unknown' },
    })
    expect(statuses(error)).toEqual({ ann: 'unknown', bob: 'unknown', eve: 'unknown' })
  })

  it('before the last byte: no recipient has the mail', async () => {
    const server = await scripted({ answer: (line) => (line === 'DATA' ? 'reset' : undefined) })
    const error = await failed(aConfig(server.port, THREE))
    expect(error).toMatchObject({ code: 'DESTINATION_UNAVAILABLE' })
    expect(error.metadata).not.toHaveProperty('outcome')
    expect(statuses(error)).toEqual({ ann: 'deferred', bob: 'deferred', eve: 'deferred' })
  })

  it('keeps the refusals that came before it', async () => {
    const server = await scripted({
      answer: (line) => (line.startsWith('RCPT TO:<ann') ? '550 nobody' : line === 'DATA' ? 'reset' : undefined),
    })
    const error = await failed(aConfig(server.port, THREE))
    expect(statuses(error)).toEqual({ ann: 'refused', bob: 'deferred', eve: 'deferred' })
  })

  it('that cannot be opened means an unavailable server', async () => {
    const server = await scripted()
    await server.close()
    const error = await failed(aConfig(server.port)).finally(() => server.close().catch(() => {}))
    expect(error).toMatchObject({ code: 'DESTINATION_UNAVAILABLE' })
  })
})

describe('of several recipients', () => {
  it('only the deferred ones are tried again; refusals are final', async () => {
    const delivery_id = randomUUID()
    const server = await scripted({
      answer: (line) =>
        line.startsWith('RCPT TO:<bob') ? '450 greylisted' : line.startsWith('RCPT TO:<eve') ? '550 nobody' : undefined,
    })
    const config = aConfig(server.port, THREE)
    const first = await failed(config, { delivery_id })
    expect(first).toMatchObject({
      code: 'DESTINATION_UNAVAILABLE',
      retryable: true,
      message: 'the server deferred 1 of 3 recipients (450)',
      response: { status: 450, body: 'greylisted' },
      // It concerns one recipient: the server works.
      answered: true,
    })
    expect(first.metadata!.recipients).toEqual([
      { address: 'ann@example.test', status: 'accepted', code: 250, reply: '2.0.0 OK', attempt: 1 },
      { address: 'bob@example.test', status: 'deferred', code: 450, reply: 'greylisted', attempt: 1 },
      { address: 'eve@example.test', status: 'refused', code: 550, reply: 'nobody', attempt: 1 },
    ])
    const progress: unknown = JSON.parse(JSON.stringify(first.progress))
    const again = { delivery_id, attempt_number: 2, progress }
    // Deferred once more: no outcome is lost.
    const second = await failed(config, again)
    expect(statuses(second)).toEqual({ ann: 'accepted', bob: 'deferred', eve: 'refused' })
    server.script({})
    const third = await failed(config, { ...again, attempt_number: 3, progress: second.progress })
    expect(third).toMatchObject({ code: 'REJECTED', message: 'the server refused 1 of 3 recipients (550)' })
    // The reply of this attempt; the refusal was in an earlier one.
    expect(third.response).toEqual({ status: 250, body: '2.0.0 OK' })
    expect(statuses(third)).toEqual({ ann: 'accepted', bob: 'accepted', eve: 'refused' })
    expect(server.mails.map((mail) => mail.recipients)).toEqual([['ann@example.test'], ['bob@example.test']])
    expect(new Set(server.mails.map(({ data }) => messageId(data)))).toEqual(new Set([`<${delivery_id}@sender.test>`]))
    // The header names all recipients, also those of a later attempt.
    for (const { data } of server.mails) expect(data.toString()).toContain('To: ann@example.test, bob@example.test\r\n')
  })

  it('a manual retry tries the refused recipients again, and no recipient gets the mail twice', async () => {
    const server = await scripted({ answer: (line) => (line.startsWith('RCPT TO:<ann') ? '550 nobody' : undefined) })
    const config = aConfig(server.port, THREE)
    const { progress } = await failed(config, { round: 1 })
    expect(await failed(config, { round: 1, progress })).toMatchObject({ code: 'REJECTED' })
    expect(server.mails).toHaveLength(1)
    server.script({})
    const receipt = await send(config, { round: 2, attempt_number: 2, progress })
    expect(receipt.metadata!.recipients).toMatchObject([
      { address: 'ann@example.test', status: 'accepted', attempt: 2 },
      { address: 'bob@example.test', status: 'accepted', attempt: 1 },
      { address: 'eve@example.test', status: 'accepted', attempt: 1 },
    ])
    expect(server.mails.map((mail) => mail.recipients)).toEqual([
      ['bob@example.test', 'eve@example.test'],
      ['ann@example.test'],
    ])
  })

  it('when the whole mail is deferred, all recipients that were not refused are retried', async () => {
    const server = await scripted({
      answer: (line) => (line.startsWith('RCPT TO:<ann') ? '550 nobody' : line === '.' ? '451 later' : undefined),
    })
    const error = await failed(aConfig(server.port, THREE))
    expect(error).toMatchObject({ code: 'DESTINATION_UNAVAILABLE', answered: false })
    expect(statuses(error)).toEqual({ ann: 'refused', bob: 'deferred', eve: 'deferred' })
  })

  it('one that is named twice gets one mail', async () => {
    const server = await scripted()
    await send(aConfig(server.port, { to: ['ann@example.test'], cc: ['Ann <ann@EXAMPLE.test>'] }))
    expect(server.mails.map((mail) => mail.recipients)).toEqual([['ann@example.test']])
  })

  it('all get the mail when the progress of an earlier attempt cannot be read', async () => {
    const server = await scripted()
    await send(aConfig(server.port, THREE), { progress: { round: 1, recipients: [{ address: 'ann@example.test' }] } })
    expect(server.mails[0]!.recipients).toHaveLength(3)
  })

  it('the server is not called when all have the mail', async () => {
    const server = await scripted({ answer: (line) => (line.startsWith('RCPT TO:<ann') ? '450 later' : undefined) })
    const { progress } = await failed(aConfig(server.port, THREE))
    const config = aConfig(server.port, { to: ['bob@example.test'] })
    expect(await send(config, { progress })).toMatchObject({ status: null })
    expect(server.mails).toHaveLength(1)
  })
})

describe('a secret', () => {
  it('is not sent when STARTTLS is configured and not offered', async () => {
    const server = await scripted({ extensions: ['AUTH PLAIN LOGIN'] })
    const config = aConfig(server.port, { ...LOGIN, security: 'starttls' })
    const error = await failed(config)
    expect(error).toMatchObject({ code: 'MISCONFIGURED', retryable: false })
    expect(await failureOf(probe(config))).toMatchObject({ code: 'MISCONFIGURED' })
    expect(server.commands.every((line) => line.startsWith('EHLO'))).toBe(true)
  })

  it.each([
    ['goes on after its answer', '220 go on\r\n250 injected'],
    ['begins a second answer', '220 go on\r\n250-inj'],
  ])('is not sent to a server that %s to STARTTLS', async (_, answer) => {
    const server = await scripted({
      extensions: ['STARTTLS', 'AUTH PLAIN'],
      answer: (line) => (line === 'STARTTLS' ? answer : undefined),
    })
    const error = await failed(aConfig(server.port, { ...LOGIN, security: 'starttls' }))
    expect(error).toMatchObject({ code: 'DESTINATION_UNAVAILABLE' })
    expect(server.commands.filter((line) => /^(EHLO|STARTTLS)/.test(line))).toHaveLength(2)
    expect(server.commands.join()).not.toContain('AUTH')
  })

  it.each([
    ['454 not now', 'DESTINATION_UNAVAILABLE'],
    ['502 not here', 'MISCONFIGURED'],
  ])('is not sent after «%s» to STARTTLS, which means %s', async (answer, code) => {
    const server = await scripted({
      extensions: ['STARTTLS', 'AUTH PLAIN'],
      answer: (line) => (line === 'STARTTLS' ? answer : undefined),
    })
    expect(await failed(aConfig(server.port, { ...LOGIN, security: 'starttls' }))).toMatchObject({ code })
    expect(server.commands.join()).not.toContain('AUTH')
  })

  it('is removed from the reply of a server that repeats it', async () => {
    const server = await scripted({
      extensions: ['AUTH PLAIN'],
      answer: (line) => (line.startsWith('AUTH') ? `535 no such thing: ${line}; ${SECRET}` : undefined),
    })
    const error = await failed(aConfig(server.port, LOGIN))
    expect(error.response!.body).toBe('no such thing: AUTH PLAIN ***; ***')
    expect(error.message).not.toContain(SECRET)
  })

  it('is sent by AUTH LOGIN when PLAIN is not offered', async () => {
    const server = await scripted({
      extensions: ['AUTH LOGIN CRAM-MD5'],
      answer: (line) => {
        if (line === Buffer.from('sender').toString('base64')) return '334 UGFzc3dvcmQ6'
        return line === Buffer.from(SECRET).toString('base64') ? '235 welcome' : undefined
      },
    })
    await send(aConfig(server.port, LOGIN))
    expect(server.mails).toHaveLength(1)
  })

  it('is MISCONFIGURED when the server offers no AUTH', async () => {
    const server = await scripted()
    expect(await failed(aConfig(server.port, LOGIN))).toMatchObject({ code: 'MISCONFIGURED' })
  })
})

describe('SIZE', () => {
  it('a mail larger than the server accepts is not started', async () => {
    const server = await scripted({ extensions: ['SIZE 1000'] })
    const body = Buffer.from(JSON.stringify('x'.repeat(2000)))
    expect(await failed(aConfig(server.port), { body })).toMatchObject({ code: 'REJECTED', retryable: false })
    expect(server.commands.join()).not.toContain('MAIL')
  })

  it('states the size of the mail', async () => {
    const server = await scripted({ extensions: ['SIZE 100000'] })
    await send(aConfig(server.port))
    expect(server.commands).toContain(`MAIL FROM:<reports@sender.test> SIZE=${server.mails[0]!.data.length}`)
  })

  it('the configured limit applies without a connection', async () => {
    const server = await scripted()
    const body = Buffer.from(JSON.stringify('x'.repeat(2000)))
    expect(await failed(aConfig(server.port, { max_message_bytes: 1024 }), { body })).toMatchObject({
      code: 'REJECTED',
    })
    expect(server.connections.total).toBe(0)
  })
})

describe('a large mail', () => {
  it('arrives complete, with lines that begin with a dot', async () => {
    const server = await scripted()
    const x = '.\n..\n.a\n'.repeat(60_000)
    const config = aConfig(server.port, { text: '{payload.x}', attachment: { format: 'none' }, timeout_seconds: 20 })
    await send(config, { body: Buffer.from(JSON.stringify({ x })) })
    const { data } = server.mails[0]!
    expect(data.length).toBeGreaterThan(600_000)
    const text = data.toString().slice(data.indexOf('\r\n\r\n') + 4)
    expect(text.replaceAll('\r\n', '\n').trimEnd() === x.trimEnd()).toBe(true)
  })

  it('is rejected beyond 50 MB by default', async () => {
    const error = await failed(aConfig(1), { body: Buffer.from(JSON.stringify('x'.repeat(39_000_000))) })
    expect(error).toMatchObject({ code: 'REJECTED', retryable: false })
    expect(error.message).toContain('"max_message_bytes" allows 52428800')
  })

  it.each(['text', 'html'])('is not written when a long value would be in it many times: %s', async (field) => {
    const body = Buffer.from(JSON.stringify({ x: 'x'.repeat(1_000_000) }))
    const config = aConfig(1, { [field]: '{payload.x}'.repeat(1000), attachment: { format: 'none' } })
    const error = await failed(config, { body })
    expect(error).toMatchObject({ code: 'MISCONFIGURED', retryable: false })
    expect(error.message).toContain('{payload.x} is too long')
  })

  it('lets other work run before the next one is written', async () => {
    const order: string[] = []
    const others = setInterval(() => order.push('others'), 0)
    const body = Buffer.from(JSON.stringify('x'.repeat(3_000_000)))
    const write = () => compose(aConfig(25), aMessage({ body })).then(() => order.push('mail'))
    await Promise.all([write(), write(), write(), write()])
    clearInterval(others)
    expect(order.join(' ')).not.toContain('mail mail')
  })
})

describe('an address that deliveries may not reach', () => {
  it.each(['169.254.169.254', '[::ffff:169.254.169.254]', '0xa9fea9fe', '2852039166', '10.0.0.1'])(
    'is refused as %s',
    async (host) => {
      const config = { ...aConfig(25), host }
      const attempt = email.deliver(config, aMessage(), never, surroundings)
      expect(await failureOf(attempt)).toMatchObject({ code: 'EGRESS_DENIED', retryable: false })
      expect(await failureOf(email.probe(config, never, surroundings))).toMatchObject({ code: 'EGRESS_DENIED' })
    },
  )
})

function statuses(error: DeliveryError): Record<string, string> {
  const recipients = error.metadata!.recipients as { address: string; status: string }[]
  return Object.fromEntries(recipients.map(({ address, status }) => [address.split('@')[0], status]))
}

function messageId(data: Buffer): string | undefined {
  return /^Message-ID: (.*)\r$/m.exec(data.toString())?.[1]
}
