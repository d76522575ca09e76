// What AMQP decides without a broker: which configurations are valid, and what a reply code means.
import { describe, expect, it } from 'vitest'
import { amqpConfig } from '../../../activities/destinations/amqp/config.ts'
import { replyFailure } from '../../../activities/destinations/amqp/failure.ts'

const manyHeaders = Object.fromEntries([1, 2, 3, 4, 5].map((n) => [`h${n}`, 'x'.repeat(8_000)]))
const base = { host: 'broker.example', username: 'u', password: 'p' }

describe('the configuration of AMQP', () => {
  it('uses TLS and persistent messages by default', () => {
    expect(amqpConfig.parse({ ...base, queue: 'q' })).toMatchObject({
      security: 'tls',
      vhost: '/',
      persistent: true,
      compression: 'none',
      timeout_seconds: 30,
    })
  })

  it.each([
    ['neither exchange nor queue', {}, 'exchange', 'state an "exchange"'],
    ['both', { exchange: 'e', queue: 'q' }, 'queue', 'state only one of them'],
    ['a routing key beside a queue', { queue: 'q', routing_key: 'k' }, 'routing_key', 'leave it out'],
    ['TLS fields without TLS', { queue: 'q', security: 'none', tls: { server_name: 'x' } }, 'tls', 'has no meaning'],
    ['a header of ours', { queue: 'q', headers: { tenant_id: 'x' } }, 'headers.tenant_id', 'by the Distributor'],
    ['a header that routes', { queue: 'q', headers: { CC: 'x' } }, 'headers.CC', 'copies'],
    ['a header that delays', { queue: 'q', headers: { 'x-delay': 1 } }, 'headers.x-delay', 'deliver_at'],
    ['an unknown placeholder', { queue: '{tenant}' }, 'queue', 'tenant_id'],
    ['a placeholder in the host', { queue: 'q', host: '{payload.host}' }, 'host', 'host name'],
    ['a virtual host of 256 bytes', { queue: 'q', vhost: 'ä'.repeat(128) }, 'vhost', '255 bytes'],
    ['a queue of 256 bytes', { queue: `${'ä'.repeat(128)}{data_type}` }, 'queue', '255 bytes'],
    ['an exchange of 256 bytes', { exchange: 'x'.repeat(256) }, 'exchange', '255 bytes'],
    ['a routing key of 256 bytes', { exchange: 'e', routing_key: 'x'.repeat(256) }, 'routing_key', '255 bytes'],
    ['headers of 40 KB', { queue: 'q', headers: manyHeaders }, 'headers', '32768 bytes'],
    ['a number that no header holds', { queue: 'q', headers: { n: -1e19 } }, 'headers.n', '64 bits'],
    ['a whole number beyond 2^53', { queue: 'q', headers: { n: 9007199254740992 } }, 'headers.n', '{"integer": '],
    [
      'a whole number beyond 64 bits',
      { queue: 'q', headers: { n: { integer: '9223372036854775808' } } },
      'headers.n.integer',
      '64 bits',
    ],
    ['a fraction as whole number', { queue: 'q', headers: { n: { integer: '1.5' } } }, 'headers.n.integer', '64 bits'],
    ['no password', { queue: 'q', password: undefined }, 'password', 'is required'],
    ['an unknown field', { queue: 'q', que: 'q' }, '', 'que'],
  ])('rejects %s with the name of the field', (_what, given, path, says) => {
    const { error } = amqpConfig.safeParse({ ...base, ...given })
    const issues = error!.issues.map((issue) => ({
      path: issue.path.join('.'),
      // The problem of a header's name is one level deeper.
      message: issue.code === 'invalid_key' ? issue.issues[0]!.message : issue.message,
    }))
    expect(issues).toContainEqual({ path, message: expect.stringContaining(says) })
  })
})

describe("a broker's reply code", () => {
  it.each([
    [311, 'REJECTED', false],
    [312, 'REJECTED', true],
    [320, 'DESTINATION_UNAVAILABLE', true],
    [402, 'MISCONFIGURED', false],
    [403, 'UNAUTHORIZED', false],
    [404, 'MISCONFIGURED', false],
    [405, 'DESTINATION_UNAVAILABLE', true],
    [406, 'REJECTED', false],
    [501, 'REJECTED', false],
    [502, 'REJECTED', false],
    [504, 'DESTINATION_UNAVAILABLE', true],
    [506, 'DESTINATION_UNAVAILABLE', true],
    [530, 'MISCONFIGURED', false],
    [540, 'REJECTED', false],
    [541, 'DESTINATION_UNAVAILABLE', true],
  ] as const)('%i means %s, tried again: %s', (status, code, retryable) => {
    const failure = replyFailure({ code: status, text: 'NO - because' }, ['p'])
    expect(failure).toMatchObject({ code, retryable, response: { status, body: 'NO - because' } })
    expect(failure.message).toContain(`(${status})`)
  })

  it('530 at login is tried again, for a virtual host may be at its limit', () => {
    const failure = replyFailure({ code: 530, text: '' }, [], true)
    expect(failure).toMatchObject({ code: 'MISCONFIGURED', retryable: true })
  })

  it('is reported with the text of the broker, without secrets, at most 500 characters', () => {
    const text = `\0 no s3cret here ${'x'.repeat(1000)}`
    const body = replyFailure({ code: 404, text }, ['s3cret']).response!.body!
    expect(body).toMatch(/^\ufffd no \*\*\* here x/)
    expect(body).toHaveLength(500)
  })
})
