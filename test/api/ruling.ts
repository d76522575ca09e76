// The API with three destinations, and rules for them.
import { expect } from 'vitest'
import { type ApiUnderTest, startApi } from './api-under-test.ts'

export const ITALY = { path: 'payload.customer.country', operator: 'equal', value: 'IT' }

/** The API of the tenant acme, which has the destinations reporter, archive and warehouse. */
export async function startRulesApi() {
  const api: ApiUnderTest = await startApi()
  const admin = (method: string, path: string, body?: unknown) =>
    api.call(method, path, body, { key: api.keys.acme.admin })
  for (const [name, tags] of [
    ['reporter', ['eu', 'reports']],
    ['archive', ['eu']],
    ['warehouse', []],
  ] as const) {
    const body = { name, protocol: 'REST', configuration: { endpoint: 'https://receiver.example/in' }, tags }
    expect((await admin('POST', '/destinations/register', body)).status).toBe(201)
  }
  let counter = 0
  const aRule = (over: Record<string, unknown> = {}) => {
    counter += 1
    return {
      name: `rule-${counter}`,
      rule_type: 'routing',
      conditions: ITALY,
      actions: { destinations: ['reporter'] },
      ...over,
    }
  }
  /** One that has been taken. */
  const kept = async (over: Record<string, unknown> = {}) => {
    const answer = await admin('POST', '/rules', aRule(over))
    expect(answer.body).toMatchObject({ id: expect.any(String) })
    return answer.body
  }
  const gone = (...rules: { id: string }[]) => Promise.all(rules.map(({ id }) => admin('DELETE', `/rules/${id}`)))
  return { api, admin, aRule, kept, gone }
}
