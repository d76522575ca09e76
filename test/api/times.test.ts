// Every time that a request may give is parsed once: what is accepted is stored as that moment, whatever its spelling.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type ApiUnderTest, startApi } from './api-under-test.ts'

let api: ApiUnderTest
beforeAll(async () => {
  api = await startApi()
})
afterAll(() => api.close())

const destinations = [{ name: 'd', protocol: 'REST', endpoint: 'https://receiver.example/in' }]
const item = (more: object = {}) => ({ data_type: 'x', payload: 1, destinations, ...more })

const SPELLINGS = [
  '2031-01-01T00:00:00+16:00',
  '2031-01-01T00:00:00+23:59',
  '2031-01-01T00:00:00-23:59',
  '2031-01-01T00:00:00-00:00',
  '2031-01-01T00:00:00.123456789012345678Z',
  '2031-06-30T23:59:59.9999+15:59',
  '9999-12-31T23:59:59.999Z',
]
const NO_TIMES = [
  '2030-12-31T23:59:60Z',
  '2030-12-31T24:00:00Z',
  '2030-02-30T00:00:00Z',
  '+012345-01-01T00:00:00Z',
  '0000-01-01T00:00:00Z',
  '0001-01-01T00:00:00+00:01',
  '9999-12-31T23:59:59-00:01',
  '2030-01-01T00:00:00+24:00',
  '2030-01-01T00:00:00',
  'infinity',
  'now',
]

describe('expires_at', () => {
  it.each(SPELLINGS)('%s is the same moment in a single submission and in a bulk item', async (expires_at) => {
    const options = { timeout_seconds: 2_592_000 }
    const single = await api.call('POST', '/distribution/submit', item({ expires_at, options }))
    expect(single.status).toBe(202)
    const bulk = await api.call('POST', '/distribution/bulk-submit', {
      distributions: [item({ options }), item({ expires_at, options })],
    })
    expect(bulk.body).toMatchObject({ accepted_distributions: 2 })
    const rows = await api.rows<{ at: Date }>(
      'acme',
      "select (options ->> 'expires_at')::timestamptz as at from distribution_jobs where distribution_id = $1",
      [bulk.body.distribution_ids[1]],
    )
    expect(rows[0]!.at.getTime()).toBe(Date.parse(expires_at))
  })

  it.each(NO_TIMES)('%s is refused, and no other item of a bulk with it', async (expires_at) => {
    const single = await api.call('POST', '/distribution/submit', item({ expires_at }))
    expect(single.status).toBe(400)
    expect(single.body.details).toMatchObject([{ field: 'expires_at' }])
    const bulk = await api.call('POST', '/distribution/bulk-submit', { distributions: [item({ expires_at }), item()] })
    expect(bulk.body).toMatchObject({ accepted_distributions: 1, rejected: [{ index: 0 }] })
  })
})

it('deliver_at with a great offset is stored as the moment that it means', async () => {
  const moment = new Date(Date.now() + 3_600_000)
  const shifted = new Date(moment.getTime() + 20 * 3_600_000).toISOString().replace('Z', '+20:00')
  const { body } = await api.call('POST', '/distribution/submit', item({ deliver_at: shifted }))
  const rows = await api.rows<{ deliver_at: Date }>(
    'acme',
    'select deliver_at from distribution_jobs where distribution_id = $1',
    [body.distribution_id],
  )
  expect(rows[0]!.deliver_at).toEqual(moment)
})

describe('every other time', () => {
  const times = [...SPELLINGS, ...NO_TIMES, '0001-01-01', '9999-12-31', '0000-01-01', '2030-02-29']
  it.each(times)('%s is taken or refused, and never an error of the server', async (time) => {
    const text = encodeURIComponent(time)
    const admin = { key: api.keys.acme.admin }
    const platform = { key: api.keys.acme.platform }
    const answers = await Promise.all([
      api.call('GET', `/distribution/list?from_date=${text}`),
      api.call('GET', `/distribution/list?to_date=${text}`),
      api.call('GET', `/audit-log?from_date=${text}`, undefined, admin),
      api.call('GET', `/audit-log?to_date=${text}`, undefined, admin),
      api.call('POST', '/distribution/retry', { filter: { from_date: time }, dry_run: true }),
      api.call('POST', '/distribution/retry', { filter: { to_date: time }, dry_run: true }),
      api.call('POST', '/rules/evaluate', { data_type: 'x', payload: {}, at: time }),
      api.call('POST', '/tenants/acme/api-keys', { name: 'k', role: 'viewer', expires_at: time }, platform),
    ])
    for (const { status, body } of answers) {
      expect([200, 201, 202, 400], JSON.stringify(body)).toContain(status)
    }
    if (NO_TIMES.includes(time)) for (const { status } of answers) expect(status).toBe(400)
  })
})

describe('a bulk request', () => {
  it.each([
    ['a key that holds NUL', '{"data_type": "x", "payload": 1, "a\\u0000b": 1}'],
    ['a key that is half a character', '{"data_type": "x", "payload": 1, "\\ud800": 1}'],
    ['a name that holds NUL', '{"data_type": "x", "payload": 1, "destinations": ["\\u0000"]}'],
    ['a number beyond jsonb', '{"data_type": "x", "payload": 1e999999, "metadata": {"a": 1e999999}}'],
    ['a huge position', '{"data_type": "x", "payload": 1, "options": {"timeout_seconds": 1e308}}'],
    ['a long data type', `{"data_type": "${'x'.repeat(100_000)}", "payload": 1}`],
  ])('stores the other items beside %s', async (_, bad) => {
    const { status, body } = await api.call(
      'POST',
      '/distribution/bulk-submit',
      `{"distributions": [${bad}, ${JSON.stringify(item())}]}`,
    )
    expect(status, JSON.stringify(body)).toBe(202)
    expect(body).toMatchObject({ accepted_distributions: 1, rejected: [{ index: 0 }] })
    const shown = await api.call('GET', `/distribution/batch/${body.batch_id}/status`)
    expect(shown.status).toBe(200)
  })
})
