// Schedules over the API: creating, showing, changing and triggering them.
import { createHash } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { cronIssue } from '../../activities/schedules/cron.ts'
import { isTimeZone } from '../../activities/schedules/time-zone.ts'
import { LIMITS } from '../../db/limits.ts'
import { type ApiUnderTest, aSubmission, inline, startApi } from './api-under-test.ts'

let api: ApiUnderTest
beforeAll(async () => {
  api = await startApi()
})
afterAll(() => api.close())

let count = 0
const aSchedule = (given: Record<string, unknown> = {}) => ({
  name: `schedule-${count++}`,
  cron: '30 6 * * 1-5',
  submission: aSubmission(),
  ...given,
})
const admin = () => ({ key: api.keys.acme.admin })
const create = (given: Record<string, unknown> = {}) =>
  api.call('POST', '/distribution/schedules', aSchedule(given), admin())

describe('a schedule', () => {
  it('is created, shown, listed, replaced and deleted, and Temporal is updated each time', async () => {
    const before = api.dispatcher.schedules.length
    const made = await create({ name: 'nightly', time_zone: 'Europe/Rome' })
    expect(made.status).toBe(201)
    expect(made.body).toMatchObject({
      name: 'nightly',
      cron: '30 6 * * 1-5',
      interval_seconds: null,
      time_zone: 'Europe/Rome',
      overlap: 'skip',
      catchup_seconds: 31_536_000,
      paused: false,
      version: 1,
      in_sync: true,
      last_fired_at: null,
      next_runs: [],
    })
    expect(made.body.submission).toEqual(aSubmission())
    expect((await api.call('GET', '/distribution/schedules/nightly')).body.id).toBe(made.body.id)
    const { body: list } = await api.call('GET', '/distribution/schedules?limit=1000')
    expect(list.schedules.map(({ name }: { name: string }) => name)).toContain('nightly')
    const changed = await api.call(
      'PUT',
      `/distribution/schedules/${made.body.id}`,
      aSchedule({ name: 'nightly', cron: undefined, interval_seconds: 60 }),
      admin(),
    )
    expect(changed.body).toMatchObject({ version: 2, cron: null, interval_seconds: 60, time_zone: 'UTC' })
    const gone = await api.call('DELETE', '/distribution/schedules/nightly', undefined, admin())
    expect(gone.status).toBe(204)
    expect((await api.call('GET', '/distribution/schedules/nightly')).status).toBe(404)
    const told = api.dispatcher.schedules.slice(before)
    expect(told.map(({ deleted }) => deleted)).toEqual([false, false, true])
    expect((await create({ name: 'nightly' })).status).toBe(201)
  })

  it('is stored for the sweep when Temporal is unavailable', async () => {
    api.dispatcher.answers.start = 'deferred'
    const { status, body } = await create()
    api.dispatcher.answers.start = 'started'
    expect(status).toBe(201)
    expect(body).toMatchObject({ in_sync: false, next_runs: null })
  })

  it('shows the submission as it was sent, with every digit', async () => {
    const text = JSON.stringify(aSchedule({ name: 'digits' })).replace('{"n":1}', '{"n":12345678901234567890.10}')
    const { text: answer } = await api.call('POST', '/distribution/schedules', text, admin())
    expect(answer).toContain('{"n":12345678901234567890.10}')
  })

  it('is paused and resumed, once or twice', async () => {
    const { body } = await create()
    const say = (what: string) => api.call('POST', `/distribution/schedules/${body.id}/${what}`)
    expect((await say('pause')).body).toMatchObject({ paused: true, version: 2 })
    expect((await say('pause')).body).toMatchObject({ paused: true, version: 2 })
    expect(api.dispatcher.schedules.at(-1)).toMatchObject({ id: body.id, paused: true })
    // Another time of day resumes nothing.
    const { name } = body
    const put = (more: object) =>
      api.call('PUT', `/distribution/schedules/${name}`, aSchedule({ name, ...more }), admin())
    expect((await put({ cron: '0 7 * * *' })).body).toMatchObject({ paused: true, cron: '0 7 * * *' })
    expect((await put({ paused: false })).body).toMatchObject({ paused: false, version: 4 })
    await say('pause')
    expect((await say('resume')).body).toMatchObject({ paused: false, version: 6 })
  })

  it('is one of a thousand at most', async () => {
    const own = { key: api.keys.other.admin }
    await api.rows(
      'other',
      `insert into distribution_schedules (tenant_id, name, cron, submission, payload_text, metadata_text, template)
       select 'other', 'many-' || n, '0 0 1 1 *', '{}', '{}', '{}', '{}' from generate_series(1, $1::int) as n`,
      [LIMITS.schedulesOfTenant.value],
    )
    const refused = await api.call('POST', '/distribution/schedules', aSchedule(), own)
    expect(refused.status).toBe(409)
    expect(refused.body.message).toContain('at most 1000 schedules')
    await api.call('DELETE', '/distribution/schedules/many-1', undefined, own)
    expect((await api.call('POST', '/distribution/schedules', aSchedule(), own)).status).toBe(201)
    await api.rows('other', `delete from distribution_schedules where name like 'many-%'`)
  })

  it('shows the status of its last distribution and the problem that prevents the next one, until it is replaced', async () => {
    const { body } = await create({ name: 'outcome' })
    expect(body).toMatchObject({ last_status: null, problem: null })
    await api.call('POST', '/distribution/schedules/outcome/trigger')
    await api.rows('acme', `update distribution_schedules set problem = 'p', problem_at = now() where id = $1`, [
      body.id,
    ])
    const { body: list } = await api.call('GET', '/distribution/schedules?limit=1000')
    const shown = list.schedules.find(({ name }: { name: string }) => name === 'outcome')
    expect(shown).toMatchObject({ last_status: 'pending', problem: 'p' })
    // A PUT removes the old problem.
    const put = await api.call('PUT', '/distribution/schedules/outcome', aSchedule({ name: 'outcome' }), admin())
    expect(put.body.problem).toBeNull()
  })

  it('is not triggered with a payload that its data type now rejects, but a repeat gets the first answer', async () => {
    const strict = (schema_definition: object) =>
      api.call('PUT', '/data-types/by-now', { name: 'by-now', schema_definition }, admin())
    await api.call('POST', '/data-types', { id: 'by-now', name: 'by-now', schema_definition: {} }, admin())
    await create({ name: 'by-now', submission: aSubmission({ data_type: 'by-now', payload: { n: 1 } }) })
    const trigger = (key: string) =>
      api.call('POST', '/distribution/schedules/by-now/trigger', undefined, { headers: { 'Idempotency-Key': key } })
    const first = await trigger('first')
    expect(first.status).toBe(202)
    expect((await strict({ properties: { n: { type: 'string' } } })).status).toBe(200)
    const refused = await trigger('second')
    expect(refused.status).toBe(400)
    expect(refused.body.details[0]).toMatchObject({ field: 'submission.payload.n' })
    expect((await trigger('first')).body).toEqual(first.body)
    await strict({})
    expect((await trigger('second')).status).toBe(202)
  })

  it('shows why Temporal rejected it', async () => {
    api.dispatcher.answers.schedule = { refused: 'Temporal refuses the schedule: no such zone' }
    const { status, body } = await create()
    delete api.dispatcher.answers.schedule
    expect(status).toBe(201)
    expect(body).toMatchObject({ in_sync: false, problem: 'Temporal refuses the schedule: no such zone' })
  })

  it('creates a distribution when it is triggered, and only one under one key', async () => {
    const payload = '{"b":1,"a":1.0}'
    const text = JSON.stringify(aSchedule({ name: 'by-hand' })).replace('{"n":1}', payload)
    const { body } = await api.call('POST', '/distribution/schedules', text, admin())
    const trigger = (headers: Record<string, string> = {}) =>
      api.call('POST', `/distribution/schedules/by-hand/trigger`, undefined, { headers })
    const first = await trigger({ 'Idempotency-Key': 'now' })
    expect(first.status).toBe(202)
    expect((await trigger({ 'Idempotency-Key': 'now' })).body).toEqual(first.body)
    expect((await trigger()).body.distribution_id).not.toBe(first.body.distribution_id)
    expect(api.dispatcher.started.map(({ distribution_id }) => distribution_id)).toContain(first.body.distribution_id)
    const rows = await api.rows<{ payload_bytes: Buffer; options: { schedule: unknown } }>(
      'acme',
      'select payload_bytes, options from distribution_jobs where id = $1',
      [first.body.distribution_id.slice(5)],
    )
    expect(rows[0]!.payload_bytes.toString()).toBe(payload)
    expect(rows[0]!.options.schedule).toMatchObject({ id: body.id, name: 'by-hand', version: 1 })
    const { body: shown } = await api.call('GET', '/distribution/schedules/by-hand')
    expect(shown.last_fired_at).not.toBeNull()
  })

  it('is not affected by a submission whose key looks like one of its own', async () => {
    const { body } = await create({ name: 'guessed' })
    const word = createHash('sha256').update('now').digest('hex')
    const headers = { 'Idempotency-Key': `schedule:${body.id}:trigger:${word}` }
    const submitted = await api.call('POST', '/distribution/submit', aSubmission(), { headers })
    expect(submitted.status).toBe(202)
    const trigger = () =>
      api.call('POST', '/distribution/schedules/guessed/trigger', undefined, { headers: { 'Idempotency-Key': 'now' } })
    const first = await trigger()
    expect(first.status).toBe(202)
    expect(first.body.distribution_id).not.toBe(submitted.body.distribution_id)
    expect((await trigger()).body).toEqual(first.body)
  })

  it('belongs to its tenant', async () => {
    const { body } = await create({ name: 'mine' })
    const theirs = { key: api.keys.other.admin }
    expect((await api.call('GET', `/distribution/schedules/${body.id}`, undefined, theirs)).status).toBe(404)
    expect((await api.call('POST', '/distribution/schedules/mine/trigger', undefined, theirs)).status).toBe(404)
    expect((await api.call('POST', '/distribution/schedules', aSchedule({ name: 'mine' }), theirs)).status).toBe(201)
    expect((await create({ name: 'mine' })).status).toBe(409)
    expect((await api.call('POST', '/distribution/schedules', aSchedule())).status).toBe(403)
  })

  it.each([
    ['neither of the two', { cron: undefined }, 'cron'],
    ['both', { interval_seconds: 60 }, 'cron'],
    ['a bad expression', { cron: '61 * * * *' }, 'cron'],
    ['too short an interval', { cron: undefined, interval_seconds: 1 }, 'interval_seconds'],
    ['an unknown zone', { time_zone: 'Mars/Base' }, 'time_zone'],
    ['an unknown policy', { overlap: 'never' }, 'overlap'],
    ['no submission', { submission: undefined }, 'submission'],
    ['a fault of the submission', { submission: aSubmission({ data_type: 7 }) }, 'submission.data_type'],
    ['an unknown destination', { submission: aSubmission({ destinations: ['no'] }) }, 'submission.destinations[0]'],
    [
      'a bad endpoint',
      { submission: aSubmission({ destinations: [inline({ endpoint: 'x' })] }) },
      'submission.destinations[0].endpoint',
    ],
    ['a time of its own', { submission: aSubmission({ deliver_at: '2030-01-01T00:00:00Z' }) }, 'submission.deliver_at'],
    [
      'a key of its own',
      { submission: aSubmission({ options: { idempotency_key: 'k' } }) },
      'submission.options.idempotency_key',
    ],
    ['another tenant', { submission: aSubmission({ tenant_id: 'other' }) }, 'submission.tenant_id'],
    ['an unknown field', { every: 5 }, 'every'],
  ])('is refused with %s, by its path', async (_title, given, field) => {
    const { status, body } = await create(given)
    expect(status).toBe(field === 'submission.tenant_id' ? 403 : 400)
    expect(body.details[0].field).toBe(field)
  })
})

describe('a cron expression', () => {
  it.each([
    '* * * * *',
    '0 0 1 1 *',
    '*/15 8-18 * * mon-fri',
    '5,10,15 0 1-7/2 jan,JUL 7',
    '0 6 29-31 2 *',
    '0 6 31 */2 *',
    '0 6 31 2-6/3,4 *',
    // A Friday will do.
    '0 6 31 2 5',
    '0 6 */31 2 5',
    '0\t6  * * *',
  ])('%s is one', (text) => {
    expect(cronIssue(text)).toBeUndefined()
  })

  it.each([
    '',
    '* * * *',
    '@daily',
    '60 * * * *',
    '* 24 * * *',
    '* * 0 * *',
    '* * * 13 *',
    '* * * * 8',
    '*/0 * * * *',
    '9-5 * * * *',
    '1- * * * *',
    'a * * * *',
    '1/2/3 * * * *',
    '0 6 30 2 *',
    '0 6 31 feb,4-6/2,9,11 *',
  ])('%s is none', (text) => {
    expect(cronIssue(text)).toBeTypeOf('string')
  })

  it.each([
    // The step makes it a Sunday, Tuesday, Thursday or Saturday that is also the 31st of April.
    ['0 0 31 4 */2', 'day of the month that never comes: "31" with the month "4"'],
    ['0 0 30-31 2 *', 'day of the month that never comes: "30-31" with the month "2"'],
    ['\ufeff0 0 * * *', 'invalid minute: it contains the character U+FEFF'],
    ['0 0 * * *\u00a0', 'invalid day of the week: it contains the character U+00A0'],
    ['0\u20030 * * *', 'invalid minute: it contains the character U+2003'],
    ['0 0 * *\n*', 'invalid month: it contains the character U+000A'],
    ['0 0 \uff11 * *', 'invalid day of the month: it contains the character U+FF11'],
    ['0 0 L * *', 'invalid day of the month: "L"'],
  ])('%j is refused with the field', (text, issue) => {
    expect(cronIssue(text)).toContain(`has a${issue.startsWith('invalid') ? 'n' : ''} ${issue}`)
  })

  it('knows time zones by name', () => {
    expect(['UTC', 'Europe/Rome', 'America/Argentina/Salta'].every(isTimeZone)).toBe(true)
    expect(['US/Pacific', 'EST', 'Etc/GMT-2', 'America/Port-au-Prince'].every(isTimeZone)).toBe(true)
    // Intl takes the last two, and Temporal takes neither.
    const none = ['', '+02:00', 'Nowhere', 'Europe/Atlantis', 'europe/rome', 'EUROPE/ROME']
    expect(none.filter(isTimeZone)).toEqual([])
  })
})
