import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type ApiUnderTest, aSubmission, inline, startApi } from './api-under-test.ts'

let api: ApiUnderTest
beforeAll(async () => {
  api = await startApi()
})
afterAll(() => api.close())
beforeEach(() => {
  api.dispatcher.started.length = 0
  api.dispatcher.answers.start = 'started'
})

const submit = (body: unknown, headers: Record<string, string> = {}) =>
  api.call('POST', '/distribution/submit', body, { headers })

async function storedPayload(distributionId: string) {
  const [row] = await api.rows<{ payload: unknown; payload_bytes: Buffer; metadata: Record<string, unknown> }>(
    'acme',
    'select payload, payload_bytes, metadata from distribution_jobs where distribution_id = $1',
    [distributionId],
  )
  return row!
}

describe('an accepted submission', () => {
  it('returns 202 with the documented fields, and starts one run', async () => {
    const { status, body, headers } = await submit(
      aSubmission({ options: { callback_url: 'https://sender.example/callbacks' } }),
    )
    expect(status).toBe(202)
    expect(body).toEqual({
      distribution_id: expect.stringMatching(/^dist_[0-9a-f-]{36}$/),
      status: 'accepted',
      estimated_completion: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
      destinations_count: 1,
      tracking_url: `/api/v1/distribution/${body.distribution_id}/status`,
      callback_registered: true,
    })
    expect(headers.get('x-request-id')).toMatch(/^[0-9a-f-]{36}$/)
    expect(api.dispatcher.started).toEqual([{ tenant_id: 'acme', distribution_id: body.distribution_id }])
  })

  it('is stored as the plan needs it', async () => {
    const { body } = await submit({
      tenant_id: 'acme',
      data_type: 'report',
      priority: 'high',
      payload: [1],
      destinations: [inline({ max_retries: 2, headers: { 'x-a': '1' } })],
      metadata: { n: 1 },
      options: { max_retries: 7, timeout_seconds: 60, compression: 'gzip' },
    })
    const [row] = await api.rows('acme', 'select * from distribution_jobs where distribution_id = $1', [
      body.distribution_id,
    ])
    expect(row).toMatchObject({
      tenant_id: 'acme',
      status: 'pending',
      priority: 'high',
      max_retries: 7,
      timeout_seconds: 60,
      options: { compression: 'gzip' },
      destinations: [
        {
          name: 'ad-hoc',
          protocol: 'REST',
          max_retries: 2,
          configuration: { endpoint: 'https://receiver.example/in', headers: { 'x-a': '1' } },
        },
      ],
    })
    expect(row?.expires_at.getTime() - row?.created_at.getTime()).toBeGreaterThan(59_000)
    expect(row?.expires_at.getTime() - row?.created_at.getTime()).toBeLessThan(61_000)
  })

  it('keeps integers of 64 bits in metadata', async () => {
    const body = '{"data_type": "r", "payload": 1, "metadata": {"id": 9007199254740993}}'
    const { body: answer } = await submit(body)
    const [row] = await api.rows<{ id: string }>(
      'acme',
      "select metadata ->> 'id' as id from distribution_jobs where distribution_id = $1",
      [answer.distribution_id],
    )
    expect(row!.id).toBe('9007199254740993')
  })

  it('may leave the destinations to rules', async () => {
    for (const body of [
      { data_type: 'r', payload: {} },
      { data_type: 'r', payload: {}, destinations: [] },
    ]) {
      const answer = await submit(body)
      expect(answer.status).toBe(202)
      expect(answer.body.destinations_count).toBeNull()
    }
  })

  it('is taken by the versioned media type, with null for what is absent', async () => {
    const body = JSON.stringify(
      aSubmission({
        priority: 'normal',
        metadata: {},
        expires_at: null,
        deliver_at: null,
        ordering_key: null,
        options: {
          callback_url: null,
          timeout_seconds: 300,
          max_retries: null,
          idempotency_key: null,
          compression: 'none',
          encryption_required: false,
        },
      }),
    )
    const { status } = await submit(body, { 'Content-Type': 'application/vnd.distributor.v1+json; charset=utf-8' })
    expect(status).toBe(202)
  })

  it('may be gzip, and may begin with a byte order mark', async () => {
    const text = `\uFEFF${JSON.stringify(aSubmission({ payload: { ü: '€' } }))}`
    const { status, body } = await submit(gzipSync(text), { 'Content-Encoding': 'gzip' })
    expect(status).toBe(202)
    expect((await storedPayload(body.distribution_id)).payload_bytes.toString()).toBe('{"ü":"€"}')
  })

  it('may name 1000 destinations', async () => {
    const destinations = Array.from({ length: 1000 }, (_, n) => inline({ name: `d${n}` }))
    const { status, body } = await submit(aSubmission({ destinations }))
    expect([status, body.destinations_count]).toEqual([202, 1000])
    const { body: shown } = await api.call('GET', `/distribution/${body.distribution_id}/status`)
    expect(shown.destinations.map(({ name }: { name: string }) => name)).toEqual(destinations.map(({ name }) => name))
  })

  it('is accepted while Temporal is unavailable', async () => {
    api.dispatcher.answers.start = 'deferred'
    expect((await submit(aSubmission())).status).toBe(202)
  })

  it('waits for deliver_at, from which its life counts', async () => {
    const at = new Date(Date.now() + 3_600_000)
    const { body } = await submit(aSubmission({ deliver_at: at.toISOString(), options: { timeout_seconds: 10 } }))
    expect(body.estimated_completion).toBe(new Date(at.getTime() + 5000).toISOString())
    const { body: status } = await api.call('GET', `/distribution/${body.distribution_id}/status`)
    expect(status.expires_at).toBe(new Date(at.getTime() + 10_000).toISOString())
  })

  it('expires at the earlier of its two ends', async () => {
    const at = new Date(Date.now() + 60_000).toISOString()
    const { body } = await submit(aSubmission({ expires_at: at, options: { timeout_seconds: 300 } }))
    const { body: status } = await api.call('GET', `/distribution/${body.distribution_id}/status`)
    expect(status.expires_at).toBe(at)
  })
})

describe('payload bytes', () => {
  const texts = [
    '{"z":1, "a":2,\t"z":3}',
    '{"i":9223372036854775807,"d":1.0,"e":1E+2,"u":"\\u00e9\\/é"}',
    '[ 1 , [ ] , { } ]',
    '"text"',
    '-0.0',
    'false',
  ]
  it.each(texts)('are stored exactly as they were accepted: %s', async (text) => {
    const { status, body } = await submit(`{"data_type":"r", "payload" :\n ${text} ,"priority":"low"}`)
    expect(status).toBe(202)
    const stored = await storedPayload(body.distribution_id)
    expect(stored.payload_bytes.toString()).toBe(text)
    expect(stored.metadata).toEqual({})
  })

  const refusedByJsonb = ['{"a":"\\u0000"}', '"\\ud800"', '{"n":1e400000}', '{"\\udc00":1}']
  it.each(refusedByJsonb)('that jsonb refuses are kept and marked: %s', async (text) => {
    const { status, body } = await submit(`{"data_type":"r","payload":${text},"metadata":{"k":1}}`)
    expect(status).toBe(202)
    expect(await storedPayload(body.distribution_id)).toEqual({
      payload: {},
      payload_bytes: Buffer.from(text),
      metadata: { k: 1, payload_state: 'not_queryable' },
    })
  })
})

describe('an idempotency key', () => {
  it('of 50 parallel posts gives one distribution', async () => {
    const body = aSubmission({ options: { idempotency_key: 'parallel' } })
    const answers = await Promise.all(Array.from({ length: 50 }, () => submit(body)))
    expect(answers.map(({ status }) => status)).toEqual(Array(50).fill(202))
    expect(new Set(answers.map(({ text }) => text)).size).toBe(1)
    const replayed = answers.filter(({ headers }) => headers.get('idempotent-replayed') === 'true')
    expect(replayed).toHaveLength(49)
    const jobs = await api.rows('acme', "select from distribution_jobs where metadata = '{}' and id = any ($1)", [
      answers.map(({ body: answer }) => answer.distribution_id.slice(5)),
    ])
    expect(jobs).toHaveLength(1)
    const keys = await api.rows('acme', "select from idempotency_keys where key = 'parallel'")
    expect(keys).toHaveLength(1)
  })

  it('with another body is a 409, in the header and in the body alike', async () => {
    const first = await submit(aSubmission(), { 'Idempotency-Key': 'other-body' })
    expect(first.status).toBe(202)
    const second = await submit(aSubmission({ data_type: 'else' }), { 'Idempotency-Key': 'other-body' })
    expect(second.status).toBe(409)
    const { distribution_id } = first.body
    expect(second.body).toMatchObject({
      error: 'CONFLICT',
      message: `the idempotency key was used before with another body, for ${distribution_id}`,
      details: [{ field: 'idempotency_key', issue: `belongs to ${distribution_id}` }],
    })
  })

  it('gets the first answer when destination and expiry are no longer acceptable', async () => {
    const admin = { key: api.keys.acme.admin }
    const config = { endpoint: 'https://receiver.example/in' }
    await api.call('POST', '/destinations/register', { name: 'fading', protocol: 'REST', configuration: config }, admin)
    const body = JSON.stringify(
      aSubmission({ destinations: ['fading'], expires_at: new Date(Date.now() + 1500).toISOString() }),
    )
    const first = await submit(body, { 'Idempotency-Key': 'fading' })
    expect(first.status).toBe(202)
    await api.call('POST', '/destinations/fading/disable', undefined, admin)
    await expect.poll(async () => (await submit(body)).status, { timeout: 5000 }).toBe(400)
    await expect.poll(async () => (await submit(body)).text, { timeout: 5000 }).toContain('expires_at')
    const again = await submit(body, { 'Idempotency-Key': 'fading' })
    expect(again.status).toBe(202)
    expect(again.body).toEqual(first.body)
  })

  it('starts the run again while the distribution is pending, and not once it has begun', async () => {
    const body = aSubmission({ options: { idempotency_key: 'restart' } })
    const { body: first } = await submit(body)
    await submit(body)
    expect(api.dispatcher.started).toHaveLength(2)
    await api.rows('acme', "update distribution_jobs set status = 'processing' where distribution_id = $1", [
      first.distribution_id,
    ])
    await submit(body)
    expect(api.dispatcher.started).toHaveLength(2)
  })

  it('finds its distribution long after the run is forgotten', async () => {
    const body = aSubmission({ options: { idempotency_key: 'long-ago' } })
    const { body: first } = await submit(body)
    await api.rows('acme', 'call update_distribution_status($1, $2)', [first.distribution_id, 'completed'])
    api.dispatcher.started.length = 0
    const again = await submit(body)
    expect([again.status, again.body]).toEqual([202, first])
    expect(api.dispatcher.started).toEqual([])
  })

  it('is not used up by a submission that was refused', async () => {
    const key = { 'Idempotency-Key': 'refused-first' }
    expect((await submit(aSubmission({ destinations: ['nobody'] }), key)).status).toBe(400)
    expect((await submit(aSubmission(), key)).status).toBe(202)
  })

  it('of another tenant is another key', async () => {
    const body = aSubmission({ options: { idempotency_key: 'shared word' } })
    const mine = await submit(body)
    const theirs = await api.call('POST', '/distribution/submit', body, { key: api.keys.other.operator })
    expect(theirs.status).toBe(202)
    expect(theirs.body.distribution_id).not.toBe(mine.body.distribution_id)
  })
})
