// What of a shape is kept as it was sent, and what of it is never shown.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type ApiUnderTest, startApi } from './api-under-test.ts'

let api: ApiUnderTest
beforeAll(async () => {
  api = await startApi()
})
afterAll(() => api.close())

const admin = (method: string, path: string, body?: unknown) =>
  api.call(method, path, body, { key: api.keys.acme.admin })
const configuration = { endpoint: 'https://reporter.example/documents' }
const register = (name: string, transform_config: unknown) =>
  admin('POST', '/destinations/register', { name, protocol: 'REST', configuration, transform_config })
const preview = async (name: string, payload: unknown, tried = {}) =>
  (await api.call('POST', `/destinations/${name}/preview`, { payload, ...tried })).body.body as string

const PAYLOAD = { first: 1, second: 2, third: 3 }
/** jsonb would have them the other way round. */
const MAPPING = { 'long.name.a': 'first', zz: 'second', b: { path: 'third', required: true } }

describe('the fields of a mapping', () => {
  it('stay in the order in which they were written', async () => {
    const { body } = await register('ordered', { field_mapping: MAPPING, output: 'xml' })
    expect(Object.keys(body.transform_config.field_mapping)).toEqual(Object.keys(MAPPING))
    const { text } = await api.call('GET', '/destinations/ordered')
    expect(JSON.stringify(JSON.parse(text).transform_config.field_mapping)).toBe(JSON.stringify(MAPPING))
    expect(await preview('ordered', PAYLOAD)).toContain(
      '<long><name><a>1</a></name></long><zz>2</zz><b>3</b></payload>',
    )
  })

  it('are refused by their names', async () => {
    const { body } = await register('refused', { field_mapping: { a: 'x', 'b[': 'y' } })
    expect(body.details.map(({ field }: { field: string }) => field)).toEqual(['transform_config.field_mapping["b["]'])
  })
})

describe('the salt of a hash', () => {
  const SALT = 'never-to-be-seen-4712'
  const mask = (path: string, salt: string) => ({ path, hash: 'sha256', salt })

  it('is not shown, and is kept if *** is sent for the same path', async () => {
    const { text } = await register('salted', { mask: [mask('first', SALT), mask('second', `${SALT}-2`), 'third'] })
    expect(text).not.toContain(SALT)
    expect(JSON.parse(text).transform_config.mask).toEqual([mask('first', '***'), mask('second', '***'), 'third'])
    const before = await preview('salted', PAYLOAD)
    const kept = { mask: [mask('second', '***'), mask('first', '***')] }
    expect(await preview('salted', PAYLOAD, { transform_config: { ...kept, exclude: ['third'] } })).toBe(
      before.replace(',"third":"***"', ''),
    )
    const changed = await admin('PUT', '/destinations/salted', { configuration, transform_config: kept })
    expect(changed.body).toMatchObject({ version: 2, transform_config: kept })
    expect(await preview('salted', PAYLOAD)).toBe(before.replace('"third":"***"', '"third":3'))
    const list = await admin('GET', '/destinations/list')
    const audit = await admin('GET', '/audit-log')
    for (const shown of [list.text, audit.text, api.log.lines().join('')]) expect(shown).not.toContain(SALT)
  })

  it('is encrypted wherever its shape is stored, and can be decrypted for its tenant alone', async () => {
    const stored = async () => {
      const [row] = await api.rows<{ all: string; salt: string }>(
        'acme',
        `select transform_config::text || (select string_agg(c.transform_config::text, '') from destination_configs c
           where c.destination_id = d.id) as all, transform_config -> 'mask' -> 0 ->> 'salt' as salt
           from destinations d where name = 'sealed'`,
      )
      return row!
    }
    await register('sealed', { mask: [mask('first', SALT)] })
    const first = await stored()
    expect(first.all).not.toContain(SALT)
    expect(first.salt).toMatch(/^sealed:v1\./)
    // An older process refuses it for its length, in place of hashing with it.
    expect(first.salt.length).toBeGreaterThan(200)
    const hashed = await preview('sealed', PAYLOAD)
    const { createHmac } = await import('node:crypto')
    const right = createHmac('sha256', SALT).update(String(PAYLOAD.first)).digest('hex')
    expect(hashed).toContain(right)
    // Neither as it is nor as *** does it become another one.
    for (const salt of [SALT, '***']) {
      const same = await admin('PUT', '/destinations/sealed', {
        configuration,
        transform_config: { mask: [mask('first', salt)] },
      })
      expect(same.body.version).toBe(1)
    }
    expect((await stored()).salt).toBe(first.salt)
    const other = await admin('POST', '/destinations/sealed/preview', {
      payload: PAYLOAD,
      transform_config: { mask: [mask('first', first.salt)] },
    })
    expect(other.body.details).toEqual([
      { field: 'transform_config.mask[0].salt', issue: 'must not begin with sealed:' },
    ])
  })

  it('that was stored in plain text still works, and is encrypted when its shape is written again', async () => {
    await register('plain', { mask: [mask('first', 'new')] })
    await api.rows('acme', `update destinations set transform_config = $1 where name = 'plain'`, [
      JSON.stringify({ mask: [mask('first', SALT)] }),
    ])
    const before = await preview('plain', PAYLOAD)
    const kept = { configuration, transform_config: { mask: [mask('first', '***')] } }
    expect((await admin('PUT', '/destinations/plain', kept)).status).toBe(200)
    const [row] = await api.rows<{ text: string }>(
      'acme',
      "select transform_config::text as text from destinations where name = 'plain'",
    )
    expect(row!.text).toContain('"sealed:v1.')
    expect(row!.text).not.toContain(SALT)
    expect(await preview('plain', PAYLOAD)).toBe(before)
  })

  it('names the key that it needs', async () => {
    const [row] = await api.rows<{ keys: string[] }>('acme', 'select array_agg(key_id) as keys from sealed_key_ids()')
    const [own] = await api.rows<{ id: string }>(
      'acme',
      "select split_part(transform_config -> 'mask' -> 0 ->> 'salt', '.', 2) as id from destinations where name = 'sealed'",
    )
    expect(own!.id).not.toBe('')
    expect(row!.keys).toContain(own!.id)
  })

  it('cannot be kept by *** if there is none', async () => {
    const refusal = { field: 'transform_config.mask[0].salt', issue: 'is ***, but there is no stored secret to keep' }
    const transform_config = { mask: [mask('third', '***')] }
    expect((await register('unsalted', transform_config)).body.details).toEqual([refusal])
    const changed = await admin('PUT', '/destinations/salted', { configuration, transform_config })
    expect(changed.body.details).toEqual([refusal])
    const tried = await api.call('POST', '/destinations/salted/preview', { payload: {}, transform_config })
    expect(tried.body.details).toEqual([refusal])
  })
})

describe('the shape of a rule', () => {
  it('keeps the order of its mapping and hides its salts as a destination does', async () => {
    const rule = (salt: string, path = 'first') => ({
      actions: { shape: { mask: [{ path, hash: 'sha256', salt }], field_mapping: MAPPING } },
    })
    const made = await admin('POST', '/rules', { name: 'shaping', rule_type: 'transformation', ...rule('of-a-rule') })
    expect(made.status, made.text).toBe(201)
    expect(made.body.actions).toEqual(rule('***').actions)
    expect(Object.keys(made.body.actions.shape.field_mapping)).toEqual(Object.keys(MAPPING))
    const kept = await admin('PUT', '/rules/shaping', { ...rule('***'), priority: 7 })
    expect([kept.status, kept.body.priority]).toEqual([200, 7])
    expect((await admin('PUT', '/rules/shaping', { enabled: true })).body.actions).toEqual(rule('***').actions)
    const [row] = await api.rows('acme', "select actions from distribution_rules where name = 'shaping'")
    expect(row!.actions.shape.mask[0].salt).toMatch(/^sealed:v1\./)
    const lost = await admin('PUT', '/rules/shaping', rule('***', 'second'))
    expect(lost.body.details).toEqual([
      { field: 'actions.shape.mask[0].salt', issue: 'is ***, but there is no stored secret to keep' },
    ])
    expect((await admin('GET', '/rules')).text).not.toContain('of-a-rule')
  })
})

describe('a destination that is replaced with the same content', () => {
  const content = (token: string, more = {}) => ({
    configuration: { ...configuration, auth: { type: 'bearer', token } },
    transform_config: { field_mapping: MAPPING, mask: [{ path: 'first', hash: 'sha256', salt: 's' }] },
    health_check_config: { enabled: true },
    tags: ['a', 'b'],
    ...more,
  })
  const versionAfter = async (body: object) => (await admin('PUT', '/destinations/same', body)).body.version

  it('gets no new version and no event; with other content it gets both', async () => {
    await admin('POST', '/destinations/register', { name: 'same', protocol: 'REST', ...content('t') })
    const shown = (await admin('GET', '/destinations/same')).body
    const { transform_config, health_check_config, tags } = shown
    const roundTrip = { configuration: shown.configuration, transform_config, health_check_config, tags }
    expect(await versionAfter(content('t'))).toBe(1)
    expect(await versionAfter(roundTrip)).toBe(1)
    expect(await versionAfter({ ...roundTrip, description: null })).toBe(1)
    expect((await admin('GET', '/destinations/same')).body).toEqual(shown)
    expect(await versionAfter(content('another'))).toBe(2)
    expect(await versionAfter(content('***', { tags: ['b', 'a'] }))).toBe(3)
    expect(await versionAfter(content('***', { tags: ['b', 'a'], max_retries: 2 }))).toBe(4)
    const reordered = Object.fromEntries(Object.entries(MAPPING).toReversed())
    const turned = { ...transform_config, field_mapping: reordered }
    expect(await versionAfter(content('***', { tags: ['b', 'a'], max_retries: 2, transform_config: turned }))).toBe(5)
    const { body } = await admin('GET', '/audit-log')
    const updates = body.events.filter(
      ({ action, resource_id }: { action: string; resource_id: string }) =>
        action === 'update' && resource_id === shown.id,
    )
    expect(updates).toHaveLength(4)
  })

  it('can be fixed by new secrets if the present ones cannot be decrypted', async () => {
    const { body } = await admin('POST', '/destinations/register', {
      name: 'sealed',
      protocol: 'REST',
      ...content('t'),
    })
    await api.rows('acme', "update credentials set sealed = 'v1.gone.x' where destination_id = $1", [body.id])
    const { status } = await admin('PUT', '/destinations/sealed', content('t'))
    expect(status).toBe(200)
    expect(await versionOf('sealed')).toBe(2)
  })

  const versionOf = async (name: string) => (await admin('GET', `/destinations/${name}`)).body.version
})
