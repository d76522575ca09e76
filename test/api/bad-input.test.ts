import { createHash } from 'node:crypto'
import { gzipSync } from 'node:zlib'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type Answer, type ApiUnderTest, aSubmission, inline, startApi } from './api-under-test.ts'

const MAX_BODY = 200_000
let api: ApiUnderTest
let before: string
beforeAll(async () => {
  api = await startApi({ max_body_bytes: MAX_BODY })
  const admin = { key: api.keys.acme.admin }
  const configuration = { endpoint: 'https://receiver.example/in' }
  for (const name of ['living', 'disabled', 'deleted']) {
    await api.call('POST', '/destinations/register', { name, protocol: 'REST', configuration }, admin)
  }
  await api.call('POST', '/destinations/disabled/disable', undefined, admin)
  await api.call('DELETE', '/destinations/deleted', undefined, admin)
})
afterAll(() => api.close())

/** Everything a submission could leave behind. */
async function everythingStored(): Promise<string> {
  const [row] = await api.rows<{ all: string }>(
    'acme',
    `select concat_ws(' ', (select count(*) from distribution_jobs), (select count(*) from idempotency_keys),
       (select count(*) from distribution_deliveries), (select count(*) from audit_log)) as all`,
  )
  return row!.all
}
beforeEach(async () => {
  before = await everythingStored()
  api.dispatcher.started.length = 0
})
afterEach(async () => {
  expect(await everythingStored()).toBe(before)
  expect(api.dispatcher.started).toEqual([])
})

const submit = (body: unknown, headers: Record<string, string> = {}) =>
  api.call('POST', '/distribution/submit', body, { headers: { 'Idempotency-Key': 'never-used-up', ...headers } })

function expectRefusal(answer: Answer, status: number, code: string, fields: string[]): void {
  expect(answer.body).toEqual({
    error: code,
    message: expect.any(String),
    details: fields.map((field) => ({ field, issue: expect.any(String) })),
    request_id: answer.headers.get('x-request-id'),
    timestamp: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
  })
  expect(answer.status).toBe(status)
}

describe('a body that is not a JSON document is refused:', () => {
  const bodies: [string, string | Uint8Array, string][] = [
    ['not JSON', '{"data_type": nope}', 'body'],
    ['JSON with a comment', '{/* c */"data_type":"r","payload":1}', 'body'],
    ['JSON with a trailing comma', '{"data_type":"r","payload":1,}', 'body'],
    ['two documents', '{} {}', 'body'],
    ['an array', '[]', 'body'],
    ['nothing', '', 'body'],
    ['not UTF-8', Buffer.from([0x7b, 0x22, 0xc3, 0x28, 0x22, 0x3a, 0x31, 0x7d]), 'body'],
    ['UTF-16', Buffer.from('{"a":1}', 'utf16le'), 'body'],
    ['an overlong NUL', Buffer.from('{"data_type":"\xc0\x80","payload":1}', 'latin1'), 'body'],
    ['a lone surrogate in bytes', Buffer.from('{"data_type":"\xed\xa0\x80","payload":1}', 'latin1'), 'body'],
    ['too deep, in arrays', `{"data_type":"r","payload":${'['.repeat(500)}${']'.repeat(500)}}`, 'body'],
    ['too deep, in objects', `{"data_type":"r","payload":${'{"a":'.repeat(500)}1${'}'.repeat(500)}}`, 'body'],
    ['nothing but brackets', '['.repeat(MAX_BODY), 'body'],
    ['a key twice', '{"data_type":"r","payload":1,"data_type":"s"}', 'data_type'],
    ['a key twice, once escaped', '{"data_type":"r","payload":1,"pa\\u0079load":2}', 'payload'],
    [
      'an option twice',
      '{"data_type":"r","payload":1,"options":{"max_retries":1,"max_retries":2}}',
      'options.max_retries',
    ],
  ]
  it.each(bodies)('%s', async (_, body, field) => {
    expectRefusal(await submit(body), 400, 'VALIDATION_ERROR', [field])
  })

  it('ten megabytes of brackets, without overflowing the stack', async () => {
    const big = await startApi()
    const body = '['.repeat(10 * 1024 * 1024)
    const answer = await big.call('POST', '/distribution/submit', body)
    await big.close()
    expectRefusal(answer, 400, 'VALIDATION_ERROR', ['body'])
  })

  it('a key that JavaScript gives a meaning of its own', async () => {
    const answer = await submit('{"data_type":"r","payload":1,"__proto__":{"priority":"high"},"constructor":1}')
    expectRefusal(answer, 400, 'VALIDATION_ERROR', ['__proto__', 'constructor'])
  })

  it('a body of exactly the allowed depth is accepted', async () => {
    const payload = `${'['.repeat(499)}${']'.repeat(499)}`
    const answer = await submit(`{"data_type":"","payload":${payload}}`)
    expectRefusal(answer, 400, 'VALIDATION_ERROR', ['data_type'])
  })
})

describe('headers', () => {
  it.each([
    ['text/plain', 'Content-Type'],
    ['application/x-www-form-urlencoded', 'Content-Type'],
    ['application/json; charset=latin1', 'Content-Type'],
    ['application/vnd.distributor.v2+json', 'Content-Type'],
  ])('of another media type are refused: %s', async (type, field) => {
    expectRefusal(await submit(aSubmission(), { 'Content-Type': type }), 400, 'VALIDATION_ERROR', [field])
  })

  it('of an unknown encoding, and gzip that is none, are refused', async () => {
    const brotli = await submit(aSubmission(), { 'Content-Encoding': 'br' })
    expectRefusal(brotli, 400, 'VALIDATION_ERROR', ['Content-Encoding'])
    const plain = await submit(aSubmission(), { 'Content-Encoding': 'gzip' })
    expectRefusal(plain, 400, 'VALIDATION_ERROR', ['body'])
    const cut = gzipSync(JSON.stringify(aSubmission())).subarray(0, 40)
    expectRefusal(await submit(cut, { 'Content-Encoding': 'gzip' }), 400, 'VALIDATION_ERROR', ['body'])
  })

  it('with a key that differs from the body, or is too long, are refused', async () => {
    const differs = await submit(aSubmission({ options: { idempotency_key: 'one' } }), { 'Idempotency-Key': 'two' })
    expectRefusal(differs, 400, 'VALIDATION_ERROR', ['options.idempotency_key'])
    const long = await submit(aSubmission(), { 'Idempotency-Key': 'x'.repeat(256) })
    expectRefusal(long, 400, 'VALIDATION_ERROR', ['Idempotency-Key'])
    const own = await submit(aSubmission(), { 'Idempotency-Key': '\u0001schedule' })
    expectRefusal(own, 400, 'VALIDATION_ERROR', ['Idempotency-Key'])
    expect(own.body.message).toBe('Idempotency-Key: must not start with the control character U+0001')
  })
})

describe('a body that is too large is a 413', () => {
  const large = JSON.stringify(aSubmission({ payload: 'x'.repeat(MAX_BODY) }))

  it('by its announcement, before anything is read', async () => {
    let pulled = 0
    const body = new ReadableStream({ pull: () => void pulled++ }, { highWaterMark: 0 })
    const init = { method: 'POST', body, duplex: 'half' } as RequestInit
    const headers = { 'X-API-Key': api.keys.acme.operator, 'Content-Length': String(MAX_BODY + 1) }
    const answer = await api.request('/api/v1/distribution/submit', { ...init, headers })
    expectRefusal(answer, 413, 'PAYLOAD_TOO_LARGE', ['body'])
    expect(pulled).toBe(0)
  })

  it('without one, and no more is read than the limit', async () => {
    let sent = 0
    const chunk = new Uint8Array(10_000).fill(0x20)
    const body = new ReadableStream({
      pull(controller) {
        sent += chunk.length
        controller.enqueue(chunk)
      },
    })
    const init = { method: 'POST', body, duplex: 'half' } as RequestInit
    const headers = { 'X-API-Key': api.keys.acme.operator, 'Content-Type': 'application/json' }
    const answer = await api.request('/api/v1/distribution/submit', { ...init, headers })
    expectRefusal(answer, 413, 'PAYLOAD_TOO_LARGE', ['body'])
    expect(sent).toBeLessThan(MAX_BODY + 5 * chunk.length)
  })

  it('after gunzip', async () => {
    const packed = gzipSync(large)
    expect(packed.length).toBeLessThan(MAX_BODY / 10)
    expectRefusal(await submit(packed, { 'Content-Encoding': 'gzip' }), 413, 'PAYLOAD_TOO_LARGE', ['body'])
  })

  it('1001 destinations are too many, whatever other problems they have', async () => {
    const destinations = Array.from({ length: 1001 }, (_, n) => (n % 2 ? `d${n}` : { nonsense: n }))
    const answer = await submit({ destinations })
    expectRefusal(answer, 413, 'PAYLOAD_TOO_LARGE', ['destinations'])
  })
})

const minutes = (n: number) => new Date(Date.now() + n * 60_000).toISOString()

describe('fields are refused with their path:', () => {
  const cases: [string, Record<string, unknown>, string[]][] = [
    ['an unknown one', { priorty: 'high' }, ['priorty']],
    [
      'an unknown option',
      { options: { callbackurl: 'x', max_retires: 1 } },
      ['options.callbackurl', 'options.max_retires'],
    ],
    ['absent data_type', { data_type: undefined }, ['data_type']],
    ['absent payload', { payload: undefined }, ['payload']],
    ['null payload', { payload: null }, ['payload']],
    ['empty data_type', { data_type: '' }, ['data_type']],
    ['long data_type', { data_type: 'x'.repeat(51) }, ['data_type']],
    ['data_type of a wrong type', { data_type: 7 }, ['data_type']],
    ['unknown priority', { priority: 'urgent' }, ['priority']],
    ['destinations that are no list', { destinations: 'living' }, ['destinations']],
    ['metadata that is no object', { metadata: [] }, ['metadata']],
    ['metadata that is too large', { metadata: { a: 'x'.repeat(65_536) } }, ['metadata']],
    ['timeout 0', { options: { timeout_seconds: 0 } }, ['options.timeout_seconds']],
    ['timeout of more than 30 days', { options: { timeout_seconds: 2_592_001 } }, ['options.timeout_seconds']],
    ['timeout as a string', { options: { timeout_seconds: '60' } }, ['options.timeout_seconds']],
    ['half a retry', { options: { max_retries: 1.5 } }, ['options.max_retries']],
    ['too many retries', { options: { max_retries: 51 } }, ['options.max_retries']],
    ['unknown compression', { options: { compression: 'br' } }, ['options.compression']],
    ['an expiry in the past', { expires_at: minutes(-1) }, ['expires_at']],
    ['an expiry without a zone', { expires_at: '2030-01-01T00:00:00' }, ['expires_at']],
    ['an expiry before the delivery', { expires_at: minutes(5), deliver_at: minutes(10) }, ['expires_at']],
    ['a delivery in more than 90 days', { deliver_at: minutes(90 * 24 * 60 + 1) }, ['deliver_at']],
    ['a callback that is no URL', { options: { callback_url: 'here' } }, ['options.callback_url']],
    ['a callback with a password', { options: { callback_url: 'https://u:p@a.example' } }, ['options.callback_url']],
    ['a private callback', { options: { callback_url: 'http://10.0.0.1/' } }, ['options.callback_url']],
    ['an order without a key', { ordering: 'block' }, ['ordering']],
    ['an unknown order', { ordering_key: 'k', ordering: 'stop' }, ['ordering']],
    ['what is not served yet', { options: { encryption_required: true } }, ['options.encryption_required']],
    ['a NUL outside the payload', { metadata: { a: ['\0'] } }, ['metadata.a[0]']],
    ['a lone surrogate in a key', { metadata: { '\ud800': 1 } }, ['metadata']],
    ['a NUL in an idempotency key', { options: { idempotency_key: 'a\0' } }, ['options.idempotency_key']],
    ['an idempotency key of the product', { options: { idempotency_key: '\u0001a' } }, ['options.idempotency_key']],
    ['several at once', { priority: 1, data_type: '', expires_at: 'soon' }, ['data_type', 'priority', 'expires_at']],
  ]
  it.each(cases)('%s', async (_, given, fields) => {
    const answer = await api.call('POST', '/distribution/submit', aSubmission(given))
    expectRefusal(answer, 400, 'VALIDATION_ERROR', fields)
  })

  it('an unknown name comes with the nearest known one', async () => {
    const { body } = await submit(aSubmission({ metdata: {}, options: { max_retires: 1 } }))
    expect(body.details.map(({ issue }: { issue: string }) => issue)).toEqual([
      'is not a known field, did you mean "max_retries"?',
      'is not a known field, did you mean "metadata"?',
    ])
  })

  it.each<[string, Record<string, unknown>, string, string]>([
    ['a field of the options outside of them', { max_retries: 3 }, 'max_retries', 'belongs in "options"'],
    [
      'a field among the options that is none',
      { options: { ordering_key: 'k' } },
      'options.ordering_key',
      'belongs next to "options", not inside it',
    ],
    ['half of a name', { expires: 1 }, 'expires', 'is not a known field, did you mean "expires_at"?'],
    ['another word', { options: { gzip: true } }, 'options.gzip', 'is not a known field: callback_url, '],
    ['a name that every object has', { constructor: 1 }, 'constructor', 'is not a known field: '],
    ['one of no choice', { priority: 'urgent' }, 'priority', 'must be one of low, normal, high, critical'],
    [
      'a shape for one that is not registered',
      { destinations: [inline({ transform_config: { exclude: ['a'] } })] },
      'destinations[0].transform_config',
      'is available for registered destinations only: register the destination, and use its name as a string',
    ],
    [
      'a configuration as a registration has it',
      { destinations: [inline({ configuration: {} })] },
      'destinations[0].configuration',
      'does not exist in an inline destination: put its fields next to name and protocol',
    ],
    [
      'a protocol by its scheme',
      { destinations: [inline({ protocol: 'SMTP' })] },
      'destinations[0].protocol',
      'must be one of REST, AMQP, JDBC, S3, SFTP, EMAIL',
    ],
  ])('the message names the remedy: %s', async (_, given, field, issue) => {
    const { body } = await submit(aSubmission(given))
    expect(body.details).toEqual([{ field, issue: expect.stringContaining(issue) }])
  })

  it('the tenant_id of another tenant is a 403 that names the field', async () => {
    expectRefusal(await submit(aSubmission({ tenant_id: 'other' })), 403, 'AUTHORIZATION_FAILED', ['tenant_id'])
  })
})

describe('destinations are refused with their path:', () => {
  const cases: [string, unknown[], string[]][] = [
    ['an unknown name', ['living', 'nobody'], ['destinations[1]']],
    ['a disabled one', ['disabled'], ['destinations[0]']],
    ['a deleted one', ['deleted'], ['destinations[0]']],
    ['one of another form', [7, null, ['living']], ['destinations[0]', 'destinations[1]', 'destinations[2]']],
    ['a bad name', ['a b', inline({ name: 'ü' })], ['destinations[0]', 'destinations[1].name']],
    ['a name that is too long', ['x'.repeat(101)], ['destinations[0]']],
    ['a name twice', ['living', 'living'], ['destinations[1]']],
    ['an inline name twice', [inline(), inline()], ['destinations[1].name']],
    ['an inline one with a registered name', [inline({ name: 'living' })], ['destinations[0].name']],
    [
      'a registered one with overrides',
      [{ name: 'living', timeout_seconds: 5 }],
      ['destinations[0].protocol', 'destinations[0].name'],
    ],
    ['without a name', [inline({ name: undefined })], ['destinations[0].name']],
    ['an unknown protocol', [inline({ protocol: 'REZT' })], ['destinations[0].protocol']],
    ['no endpoint', [inline({ endpoint: undefined })], ['destinations[0].endpoint']],
    ['no URL', [inline({ endpoint: 'receiver' })], ['destinations[0].endpoint']],
    ['another scheme', [inline({ endpoint: 'ftp://receiver.example' })], ['destinations[0].endpoint']],
    ['an unknown field', [inline({ tiemout_seconds: 5 })], ['destinations[0].tiemout_seconds']],
    ['a field out of bounds', [inline({ timeout_seconds: 601 })], ['destinations[0].timeout_seconds']],
    ['too many retries', [inline({ max_retries: 51 })], ['destinations[0].max_retries']],
    ['a literal secret', [inline({ auth: { type: 'bearer', token: 's3cr3t' } })], ['destinations[0].auth.token']],
    [
      "another destination's secret",
      [
        inline({
          auth: { type: 'bearer', token: { secret: 'destination.019bc0de-7a10-7cc3-98c4-dc0c0c07398f.auth.token' } },
        }),
      ],
      ['destinations[0].auth.token'],
    ],
  ]
  it.each(cases)('%s', async (_, destinations, fields) => {
    expectRefusal(await submit(aSubmission({ destinations })), 400, 'VALIDATION_ERROR', fields)
  })

  const addresses = [
    'http://127.0.0.1/',
    'http://localhost:9/',
    'http://169.254.169.254/latest/meta-data/',
    'http://[::ffff:169.254.169.254]/',
    'http://2852039166/',
    'http://0x7f.1/',
    'http://[::1]/',
    'http://10.1.2.3:80/',
  ]
  it.each(addresses)('a private address: %s', async (endpoint) => {
    const answer = await submit(aSubmission({ destinations: [inline({ endpoint })] }))
    expectRefusal(answer, 400, 'VALIDATION_ERROR', ['destinations[0].endpoint'])
  })

  it('a mistyped name is answered with the most similar registered name, wherever a submission is', async () => {
    const mistaken = aSubmission({ destinations: ['livng', 'else'] })
    const issues = [
      'no destination is registered as "livng", did you mean "living"?',
      'no destination is registered as "else"',
    ]
    const found = (at: string) => issues.map((issue, index) => ({ field: `${at}destinations[${index}]`, issue }))
    expect((await submit(mistaken)).body.details).toEqual(found(''))
    const bulk = await api.call('POST', '/distribution/bulk-submit', { distributions: [mistaken] })
    expect(bulk.body.details).toEqual(found('distributions[0].'))
    const daily = { name: 'daily', cron: '0 6 * * *', submission: mistaken }
    const schedule = await api.call('POST', '/distribution/schedules', daily, { key: api.keys.acme.admin })
    expect(schedule.body.details).toEqual(found('submission.'))
  })

  it('one answer lists the problems of several destinations and of other fields', async () => {
    const destinations = ['nobody', inline({ endpoint: 'x' }), inline({ name: 'b', tokn: 1 })]
    const { body } = await submit(aSubmission({ priority: 'urgent', destinations }))
    const fields = body.details.map(({ field }: { field: string }) => field)
    expect(fields).toEqual(['priority', 'destinations[1].endpoint', 'destinations[2].tokn', 'destinations[0]'])
  })
})

it('a literal secret is in no answer and in no log line', async () => {
  const secret = createHash('sha256').update('secret').digest('hex')
  const destinations = [inline({ auth: { type: 'bearer', token: secret }, secret_headers: { 'x-k': secret } })]
  const { text } = await submit(aSubmission({ destinations }))
  expect(text).not.toContain(secret)
  expect(api.log.lines().join('')).not.toContain(secret)
})
