// Unknown fields and values are rejected with their path. They are never stored, where they would match nothing.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type ApiUnderTest, startApi } from './api-under-test.ts'

let api: ApiUnderTest
beforeAll(async () => {
  api = await startApi()
})
afterAll(() => api.close())

const admin = (method: string, path: string, body?: unknown) =>
  api.call(method, path, body, { key: api.keys.acme.admin })

describe('an unknown field or value', () => {
  it.each([
    ['status', 'status=done'],
    ['priority', 'priority=urgent'],
    ['from_date', 'from_date=yesterday'],
    ['destnation', 'destnation=ledger'],
  ])('in a filter of the list is refused with its path: %s', async (field, query) => {
    const { status, body } = await admin('GET', `/distribution/list?${query}`)
    expect(status).toBe(400)
    expect(body.details).toEqual([{ field, issue: expect.any(String) }])
  })

  it.each([
    ['configuration.endpoint', { endpoint: 'https://receiver.example/{tenant}' }],
    ['configuration.headers.X-Case', { endpoint: 'https://receiver.example/', headers: { 'X-Case': '{payload}' } }],
    ['configuration.auth.type', { endpoint: 'https://receiver.example/', auth: { type: 'barer' } }],
    ['configuration.retries', { endpoint: 'https://receiver.example/', retries: 3 }],
    ['configuration.headers.Host', { endpoint: 'https://receiver.example/', headers: { Host: 'x' } }],
  ])('in a configuration is refused with its path, and nothing is stored: %s', async (field, configuration) => {
    const { status, body } = await admin('POST', '/destinations/register', {
      name: 'mistaken',
      protocol: 'REST',
      configuration,
    })
    expect(status).toBe(400)
    expect(body.details.map((detail: { field: string }) => detail.field)).toEqual([field])
    expect(body.details[0].issue).not.toMatch(/invalid key/i)
    expect(await api.rows('acme', 'select from destinations')).toEqual([])
  })

  it('is refused with what there is to choose from, also where several may be given', async () => {
    const { body } = await admin('POST', '/distribution/retry', { status: 'done' })
    const issue =
      'must be one of pending, processing, completed, failed, cancelled, or must be of type array, not string'
    expect(body.details).toEqual([{ field: 'status', issue }])
  })

  it('in a body that the endpoint does not use is refused, and nothing is changed', async () => {
    const configuration = { endpoint: 'https://receiver.example/' }
    await admin('POST', '/destinations/register', { name: 'ledger', protocol: 'REST', configuration })
    const { status, body } = await admin('POST', '/destinations/ledger/disable', { reason: 'maintenance' })
    expect(status).toBe(400)
    expect(body.details).toEqual([{ field: 'body', issue: expect.stringContaining('must be empty') }])
    expect((await admin('GET', '/destinations/ledger')).body.status).toBe('active')
    expect((await admin('POST', '/destinations/ledger/disable', {})).body.status).toBe('inactive')
    await admin('DELETE', '/destinations/ledger')
  })
})
