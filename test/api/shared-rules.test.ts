// Rules of all tenants, and rules that name a destination which is gone.
import { afterAll, describe, expect, it } from 'vitest'
import { ITALY, startRulesApi } from './ruling.ts'

const { api, admin, kept, gone } = await startRulesApi()
afterAll(() => api.close())

describe('a shared rule', () => {
  const platform = (method: string, path: string, body?: unknown) =>
    api.call(method, path, body, { key: api.keys.acme.platform })
  const other = (method: string, path: string, body?: unknown) =>
    api.call(method, path, body, { key: api.keys.other.admin })
  const common = {
    name: 'common',
    rule_type: 'routing',
    conditions: ITALY,
    actions: { destinations: ['archive', 'everywhere'] },
    shared: true,
  }
  const sample = { payload: { customer: { country: 'IT' } } }

  it('is written by the platform alone, and read and asked by every tenant with the destinations that it has', async () => {
    expect((await admin('POST', '/rules', common)).status).toBe(403)
    const made = await platform('POST', '/rules', common)
    expect(made.body).toMatchObject({ name: 'common', shared: true, tenant_id: null })
    expect((await platform('POST', '/rules', common)).status).toBe(409)
    expect((await other('GET', '/rules/common')).body).toEqual(made.body)
    expect((await other('GET', '/rules?shared=true')).body.rules).toHaveLength(1)
    expect((await other('GET', '/rules?shared=false')).body.rules).toEqual([])
    expect(await api.rows('other', 'select path from rule_conditions')).toEqual([{ path: 'payload.customer.country' }])

    // acme has an archive; the other tenant has nothing of it.
    expect((await api.call('POST', '/rules/evaluate', sample)).body).toMatchObject({
      destinations: [{ name: 'archive', status: 'pending', rule: 'common' }],
      rules: [
        { name: 'common', shared: true, note: 'ignores destinations that this tenant does not have: everywhere' },
      ],
    })
    expect((await other('POST', '/rules/evaluate', sample)).body).toMatchObject({
      destinations: [],
      warnings: [],
      rules: [{ matched: true, note: 'ignores destinations that this tenant does not have: archive, everywhere' }],
    })

    for (const path of ['/rules/common', `/rules/${made.body.id}`]) {
      const refused = await other('PUT', path, { enabled: false })
      expect(refused).toMatchObject({ status: 403, body: { message: expect.stringContaining('?shared=true') } })
      expect((await other('DELETE', path)).status).toBe(403)
      expect((await other('PUT', `${path}?shared=true`, { enabled: false })).status).toBe(403)
      expect((await other('DELETE', `${path}?shared=true`)).status).toBe(403)
      // Said by mistake by one who may.
      expect((await platform('DELETE', path)).status).toBe(403)
    }
    await expect(api.rows('other', 'update distribution_rules set enabled = false returning name')).resolves.toEqual([])
    await expect(
      api.rows('other', "insert into distribution_rules (tenant_id, name, rule_type) values (null, 'x', 'routing')"),
    ).rejects.toThrow('row-level security')

    const changed = await platform('PUT', '/rules/common?shared=true', { conditions: {}, priority: 4 })
    expect(changed.body).toMatchObject({ id: made.body.id, priority: 4, conditions: {}, shared: true })
    expect(await api.rows('other', 'select path from rule_conditions')).toEqual([])
    expect((await other('POST', '/rules/evaluate', { payload: 1 })).body.rules).toMatchObject([{ matched: true }])
    expect((await platform('DELETE', '/rules/common?shared=true')).status).toBe(204)
    expect((await other('GET', '/rules')).body.rules).toEqual([])
    expect((await platform('DELETE', '/rules/common?shared=true')).status).toBe(404)
  })

  it('and one of the same name of a tenant have nothing to do with each other', async () => {
    await platform('POST', '/rules', common)
    const own = await kept({ name: 'common', actions: { destinations: ['warehouse'] } })
    expect((await admin('GET', '/rules/common')).body).toEqual(own)
    expect((await admin('GET', '/rules/common?shared=true')).body).toMatchObject({ shared: true })
    expect((await admin('PUT', '/rules/common', { priority: -1 })).body).toMatchObject({ shared: false, priority: -1 })
    const tried = await api.call('POST', '/rules/evaluate', {
      ...sample,
      rule: { name: 'common', rule_type: 'routing', actions: { destinations: ['reporter'] } },
    })
    // The draft takes the place of the tenant's own alone.
    expect(tried.body.destinations).toMatchObject([{ name: 'reporter' }, { name: 'archive' }])
    const [one, two] = await Promise.all([
      platform('PUT', '/rules/common?shared=true', { priority: 9 }),
      platform('PUT', '/rules/common?shared=true', { description: 'at once' }),
    ])
    expect([one.status, two.status]).toEqual([200, 200])
    expect((await platform('GET', '/rules/common?shared=true')).body).toMatchObject({
      priority: 9,
      description: 'at once',
    })
    await gone(own)
    expect((await platform('DELETE', '/rules/common?shared=true')).status).toBe(204)
  })
})

describe('the end of a destination', () => {
  it('names the rules that name it, and the explanation says what becomes of them', async () => {
    const name = 'leaving'
    const register = () =>
      admin('POST', '/destinations/register', {
        name,
        protocol: 'REST',
        configuration: { endpoint: 'https://receiver.example/in' },
      })
    await register()
    const rules = [
      await kept({ name: 'off', enabled: false, actions: { destinations: [name] } }),
      await kept({ name: 'on', conditions: {}, actions: { destinations: [name, 'archive'], strategy: 'failover' } }),
      await kept({ name: 'stranger' }),
    ]
    await admin('PUT', '/routing/default', { destinations: [name], when_none: 'fail' })
    const deleted = await admin('DELETE', `/destinations/${name}`)
    expect(deleted.status).toBe(200)
    expect(deleted.body).toEqual({ name, named_by_rules: ['off', 'on'], in_default_route: true })
    expect((await api.call('POST', '/rules/evaluate', { payload: 1 })).body).toMatchObject({
      destinations: [
        {
          name,
          status: 'failed',
          error_code: 'DESTINATION_DELETED',
          error_message: 'The rule on names it, but it is deleted',
          rule: 'on',
        },
        { name: 'archive', status: 'pending', standby: false },
      ],
      warnings: ['The rule on names destinations that do not exist: leaving'],
    })
    // Its name is free, and means the new one.
    await register()
    expect((await api.call('POST', '/rules/evaluate', { payload: 1 })).body).toMatchObject({
      destinations: [{ name, status: 'pending' }, { standby: true }],
      warnings: [],
    })
    await gone(...rules)
    await admin('PUT', '/routing/default', { destinations: [], when_none: 'complete' })
    expect((await admin('DELETE', `/destinations/${name}`)).status).toBe(204)
  })
})
