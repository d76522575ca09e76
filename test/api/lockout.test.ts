// API keys: guessing them is noticed, and the last key that can administer the service cannot be removed.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createWrongKeys } from '../../api/http/wrong-keys.ts'
import { LIMITS } from '../../db/limits.ts'
import { type ApiUnderTest, startApi } from './api-under-test.ts'

let api: ApiUnderTest
beforeAll(async () => {
  api = await startApi()
})
afterAll(() => api.close())

const platform = (method: string, path: string, body?: unknown, key = api.keys.acme.platform) =>
  api.call(method, path, body, { key })

describe('wrong keys', () => {
  const list = (key: string, from: string) =>
    api.request('/api/v1/distribution/list', { headers: { 'X-API-Key': key } }, from)

  it('are limited by address and logged with it, and a right key from there is served', async () => {
    const statuses = new Map<number, number>()
    for (let n = 0; n < LIMITS.wrongKeys.value + 5; n++) {
      const { status } = await list(`guess-${n}`, '203.0.113.7')
      statuses.set(status, (statuses.get(status) ?? 0) + 1)
    }
    expect(statuses).toEqual(
      new Map([
        [401, LIMITS.wrongKeys.value],
        [429, 5],
      ]),
    )
    const refused = await list('guess', '203.0.113.7')
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0)
    expect((await list(api.keys.acme.viewer, '203.0.113.7')).status).toBe(200)
    expect((await list('guess', '203.0.113.8')).status).toBe(401)
    const lines = api.log.lines().map((line) => JSON.parse(line))
    expect(lines.filter(({ address }) => address === '203.0.113.7')).toHaveLength(LIMITS.wrongKeys.value + 6)
    expect(lines.find(({ address }) => address === '203.0.113.8')).toMatchObject({ level: 'warn', status: 401 })
    expect(lines.filter(({ status }) => status === 200).every(({ address }) => address === undefined)).toBe(true)
  })

  it('are counted by network, for a minute, in bounded memory', () => {
    let time = 0
    const wrong = createWrongKeys(() => time)
    const counted = (address: string) => {
      for (let n = 0; n < LIMITS.wrongKeys.value; n++) expect(wrong.count(address)).toBeNull()
    }
    counted('2001:db8:1:2::1')
    expect(wrong.count('2001:db8:1:2:ffff::')).toBe(60)
    expect(wrong.count('2001:0db8:0001:0002:aaaa:bbbb:cccc:dddd')).toBe(60)
    expect(wrong.count('2001:db8:1:3::1')).toBeNull()
    counted('::ffff:192.0.2.1')
    expect(wrong.count('192.0.2.1')).toBe(60)
    expect(wrong.count('::1')).toBeNull()
    time = 59_500
    expect(wrong.count('192.0.2.1')).toBe(1)
    time = 60_000
    expect(wrong.count('192.0.2.1')).toBeNull()
    counted('198.51.100.1')
    for (let n = 0; n < 10_000; n++) wrong.count(`10.0.${n >> 8}.${n & 255}`)
    expect(wrong.count('198.51.100.1')).toBeNull()
  })
})

describe('a platform key', () => {
  const idOf = async (tenant: string, name: string) => {
    const { body } = await platform('GET', `/tenants/${tenant}/api-keys`)
    return body.api_keys.find((one: { name: string }) => one.name === name).id
  }

  it.each(['suspended', 'inactive'])('cannot make its own tenant %s', async (status) => {
    const answer = await platform('PUT', '/tenants/acme', { status })
    expect(answer.status).toBe(409)
    expect(answer.body).toMatchObject({ error: 'CONFLICT', details: [{ field: 'status' }] })
    expect(answer.body.message).toContain('use a platform key of another tenant')
    expect((await platform('PUT', '/tenants/acme', { status: 'active', name: 'Acme' })).status).toBe(200)
  })

  it('can be revoked, unless it is the last one; of two that revoke each other one stays', async () => {
    expect((await platform('DELETE', `/tenants/other/api-keys/${await idOf('other', 'platform')}`)).status).toBe(204)
    const { body: second } = await platform('POST', '/tenants/other/api-keys', { name: 'second', role: 'platform' })
    const [own, its] = [await idOf('acme', 'bootstrap'), second.id]
    const removed = await Promise.all([
      platform('DELETE', `/tenants/acme/api-keys/${own}`, undefined, second.key),
      platform('DELETE', `/tenants/other/api-keys/${its}`),
    ])
    const left = removed[0]!.status === 204 ? { key: second.key, id: its, tenant: 'other' } : undefined
    // The later one may come when its key is already revoked.
    expect([409, 401]).toContain(removed[left ? 1 : 0]!.status)
    expect(removed[left ? 0 : 1]!.status).toBe(204)
    const { key, id, tenant } = left ?? { key: api.keys.acme.platform, id: own, tenant: 'acme' }
    const last = await platform('DELETE', `/tenants/${tenant}/api-keys/${id}`, undefined, key)
    expect(last.status).toBe(409)
    expect(last.body.message).toContain('create another one first')
    // Those that expire, or belong to a tenant that is not active, do not count.
    const soon = new Date(Date.now() + 1000).toISOString()
    await platform('POST', `/tenants/${tenant}/api-keys`, { name: 'soon', role: 'platform', expires_at: soon }, key)
    await platform('POST', '/tenants', { id: 'asleep' }, key)
    await platform('POST', '/tenants/asleep/api-keys', { name: 'k', role: 'platform' }, key)
    expect((await platform('PUT', '/tenants/asleep', { status: 'suspended' }, key)).status).toBe(200)
    await new Promise((resolve) => setTimeout(resolve, 1100))
    expect((await platform('DELETE', `/tenants/${tenant}/api-keys/${id}`, undefined, key)).status).toBe(409)
    await platform('POST', `/tenants/${tenant}/api-keys`, { name: 'another', role: 'platform' }, key)
    expect((await platform('DELETE', `/tenants/${tenant}/api-keys/${id}`, undefined, key)).status).toBe(204)
  })
})
