import { describe, expect, it } from 'vitest'
import { createEgress } from '../../../activities/destinations/network/egress.ts'
import { retryAfterMs } from '../../../activities/destinations/network/retry-after.ts'
import { rest } from '../../../activities/destinations/rest/index.ts'
import { certificate, type HttpReceiverOptions, type Reply, refusedPort } from '../../support/receivers/http.ts'
import { aMessage, failureOf, never } from './contract.ts'
import { aConfig, receiving, send } from './sending.ts'

describe('the status', () => {
  it.each([200, 201, 202, 204, 226])('%i is success', async (status) => {
    const receiver = await receiving({ status })
    expect(await send(aConfig(receiver.url))).toMatchObject({ status })
  })

  it.each([
    [408, 'TIMEOUT'],
    [425, 'DESTINATION_UNAVAILABLE'],
    [429, 'THROTTLED'],
    [500, 'DESTINATION_UNAVAILABLE'],
    [501, 'DESTINATION_UNAVAILABLE'],
    [502, 'DESTINATION_UNAVAILABLE'],
    [503, 'DESTINATION_UNAVAILABLE'],
    [504, 'DESTINATION_UNAVAILABLE'],
    [599, 'DESTINATION_UNAVAILABLE'],
  ])('%i is tried again as %s', async (status, code) => {
    const receiver = await receiving({ status, body: 'why' })
    const error = await failureOf(send(aConfig(receiver.url)))
    expect(error).toMatchObject({ code, retryable: true, response: { status, body: 'why' }, gone: false })
  })

  it.each([
    [400, 'REJECTED'],
    [401, 'UNAUTHORIZED'],
    [403, 'UNAUTHORIZED'],
    [404, 'REJECTED'],
    [407, 'REJECTED'],
    [409, 'REJECTED'],
    [413, 'REJECTED'],
    [422, 'REJECTED'],
    [451, 'REJECTED'],
  ])('%i is final as %s', async (status, code) => {
    const receiver = await receiving({ status })
    expect(await failureOf(send(aConfig(receiver.url)))).toMatchObject({ code, retryable: false, gone: false })
  })

  it.each([300, 301, 302, 303, 304, 307, 308])('%i is a final failure, with and without Location', async (status) => {
    const elsewhere = await receiving()
    for (const headers of [{}, { location: elsewhere.url }]) {
      const receiver = await receiving({ status, headers })
      const error = await failureOf(send(aConfig(receiver.url)))
      expect(error).toMatchObject({ code: 'REJECTED', retryable: false, response: { status } })
    }
    expect(elsewhere.connections.total).toBe(0)
  })

  it('a redirect to cloud metadata is refused like every other', async () => {
    const receiver = await receiving({ status: 307, headers: { location: 'http://169.254.169.254/' } })
    expect(await failureOf(send(aConfig(receiver.url)))).toMatchObject({ code: 'REJECTED' })
    expect(receiver.requests).toHaveLength(1)
  })

  it('410 is final and says that the destination is gone', async () => {
    const receiver = await receiving({ status: 410 })
    expect(await failureOf(send(aConfig(receiver.url)))).toMatchObject({
      code: 'REJECTED',
      retryable: false,
      gone: true,
    })
  })
})

describe('Retry-After', () => {
  it.each([
    [{ 'retry-after': '7' }, 7_000],
    [{ 'retry-after': '0' }, 0],
    [{ 'retry-after': ' 120 ' }, 120_000],
    [{ 'retry-after': '86400' }, 3_600_000],
    [{ 'retry-after': 'Wed, 25 Nov 2026 03:00:30 GMT' }, 30_000],
    [{ 'retry-after': 'Wednesday, 25-Nov-26 03:00:30 GMT' }, 30_000],
    [{ 'retry-after': 'Wed Nov 25 03:00:30 2026 GMT' }, 30_000],
    [{ 'retry-after': 'Wed, 25 Nov 2026 09:00:00 GMT' }, 3_600_000],
    [{ 'retry-after': 'Wed, 25 Nov 2026 02:00:00 GMT' }, 0],
    // The receiver's clock is five minutes slow: it means ten seconds.
    [{ 'retry-after': 'Wed, 25 Nov 2026 02:55:10 GMT', date: 'Wed, 25 Nov 2026 02:55:00 GMT' }, 10_000],
    [{ 'retry-after': '-5' }, undefined],
    [{ 'retry-after': '1.5' }, undefined],
    [{ 'retry-after': 'soon' }, undefined],
    [{ 'retry-after': 'Soon, we hope' }, undefined],
    [{}, undefined],
  ])('%j is %s ms', (headers, expected) => {
    expect(retryAfterMs(headers, Date.parse('2026-11-25T03:00:00Z'))).toBe(expected)
  })

  it.each([429, 503])('comes along with %i', async (status) => {
    const receiver = await receiving({ status, headers: { 'retry-after': '3' } })
    expect(await failureOf(send(aConfig(receiver.url)))).toMatchObject({ retryable: true, retryAfterMs: 3_000 })
    receiver.reply({ status, headers: { 'retry-after': new Date(Date.now() + 20_000).toUTCString() } })
    const { retryAfterMs: delay } = await failureOf(send(aConfig(receiver.url)))
    expect(delay).toBeGreaterThan(18_000)
    expect(delay).toBeLessThanOrEqual(21_000)
  })
})

describe('time', () => {
  it.each([
    ['a connection that is never answered', {}, { connection: 'stall' }],
    ['a TLS handshake that is never answered', {}, { connection: 'stall', tls: true }],
    ['headers, then a stalled body', { stall: 'body', status: 200 }, {}],
    ['a byte now and then', { drip_ms: 100, body: 'x'.repeat(1000) }, {}],
    [
      'a stated length that is waited for',
      { raw: 'HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc', raw_then: 'hang' },
      {},
    ],
    ['interim answers for ever', { raw: 'HTTP/1.1 102 Processing\r\n\r\n'.repeat(3), raw_then: 'hang' }, {}],
  ] as [string, Reply, HttpReceiverOptions][])(
    '%s ends the attempt as TIMEOUT and closes the socket',
    async (_case, script, options) => {
      const receiver = await receiving(script, options)
      const began = performance.now()
      const error = await failureOf(send(aConfig(receiver.url, { timeout_seconds: 0.5 })))
      expect(error).toMatchObject({ code: 'TIMEOUT', retryable: true })
      expect(performance.now() - began).toBeGreaterThan(450)
      expect(performance.now() - began).toBeLessThan(4_000)
      await receiver.until(() => receiver.connections.open === 0, 2_000)
    },
  )

  it('what came before the silence is kept with the failure', async () => {
    const receiver = await receiving({ stall: 'body', status: 202, body: 'so far' })
    const error = await failureOf(send(aConfig(receiver.url, { timeout_seconds: 0.3 })))
    expect(error).toMatchObject({ code: 'TIMEOUT', response: { status: 202, body: 'so far' } })
  })

  it('the status decides when a refusal stalls in its body', async () => {
    const receiver = await receiving({ stall: 'body', status: 422 })
    expect(await failureOf(send(aConfig(receiver.url, { timeout_seconds: 0.3 })))).toMatchObject({ code: 'REJECTED' })
  })

  it('the name counts too: a resolver that hangs', async () => {
    const egress = createEgress({ allow: [], lookup: () => new Promise(() => {}) })
    const config = aConfig('http://slow.example/', { timeout_seconds: 0.3 })
    const began = performance.now()
    const error = await failureOf(rest.deliver(config, aMessage(), never, { egress }))
    expect(error).toMatchObject({ code: 'TIMEOUT', retryable: true })
    expect(performance.now() - began).toBeLessThan(4_000)
  })

  it.each([
    ['connects', {}, { connection: 'stall', tls: true }],
    ['waits for headers', { stall: 'headers' }, {}],
    ['reads the body', { stall: 'body' }, {}],
  ] as [string, Reply, HttpReceiverOptions][])(
    'an abort closes the socket while it %s',
    async (_case, script, options) => {
      const receiver = await receiving(script, options)
      const controller = new AbortController()
      const attempt = send(aConfig(receiver.url), {}, controller.signal).catch((error: unknown) => error)
      await receiver.until(
        () => receiver.connections.open === 1 && (options.connection !== undefined || receiver.requests.length === 1),
      )
      controller.abort('stop')
      expect(await attempt).toBe('stop')
      await receiver.until(() => receiver.connections.open === 0, 2_000)
    },
  )
})

describe('the network', () => {
  it('a refused connection', async () => {
    const error = await failureOf(send(aConfig(`http://127.0.0.1:${await refusedPort()}/`)))
    expect(error).toMatchObject({
      code: 'DESTINATION_UNAVAILABLE',
      retryable: true,
      message: expect.stringContaining('ECONNREFUSED'),
    })
  })

  it('an unknown name', async () => {
    const lookup = () => Promise.reject(Object.assign(new Error('x'), { code: 'ENOTFOUND' }))
    const attempt = rest.deliver(aConfig('http://gone.example/'), aMessage(), never, {
      egress: createEgress({ allow: [], lookup }),
    })
    expect(await failureOf(attempt)).toMatchObject({
      code: 'DESTINATION_UNAVAILABLE',
      retryable: true,
      message: expect.stringContaining('ENOTFOUND'),
    })
  })

  it.each([
    ['a reset at once', {}, { connection: 'reset' }],
    ['a reset at once, with TLS', {}, { connection: 'reset', tls: true }],
    ['a reset after the request', { drop: 'reset' }, {}],
    ['a hard end after the request, with TLS', { drop: 'reset' }, { tls: true }],
    ['a polite end after the request', { drop: 'end' }, {}],
    ['no HTTP', { raw: 'SSH-2.0-OpenSSH_9.2\r\n' }, {}],
    ['headers without end', { raw: `HTTP/1.1 200 OK\r\nx: ${'y'.repeat(100_000)}` }, {}],
    ['an answer that breaks off in its headers', { raw: 'HTTP/1.1 200 OK\r\ncontent-le' }, {}],
  ] as [string, Reply, HttpReceiverOptions][])(
    '%s is tried again, as another attempt',
    async (_case, script, options) => {
      const receiver = await receiving(script, options)
      const tls = options.tls ? { ca: certificate('ca.pem') } : {}
      const error = await failureOf(send(aConfig(receiver.url, { tls })))
      expect(error).toMatchObject({ code: 'DESTINATION_UNAVAILABLE', retryable: true })
      expect(receiver.requests.length).toBeLessThanOrEqual(1)
      expect(receiver.connections.total).toBe(1)
    },
  )
})
