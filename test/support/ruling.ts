// Set-up for tests of rules: call `useRuling` once per file; each test gets its own tenant.
import { afterAll, afterEach, beforeAll } from 'vitest'
import type { Actions } from '../../activities/rules/actions.ts'
import { requestRetry } from '../../db/distributions/commands.ts'
import { jobId } from '../../db/distributions/job-id.ts'
import { insertRule } from '../../db/rules/rules.ts'
import type { RuleType } from '../../db/states.ts'
import type { DistributionRef } from '../../workflows/messages.ts'
import { type HttpReceiver, type Script, startHttpReceiver } from './receivers/http.ts'
import { ABOUT, createTestSystem, type TestSystem } from './system.ts'

export let system: TestSystem
export let receiver: HttpReceiver
export let tenant: string
let count = 0

/** Starts the system for the tests of this file, and ends it after them. */
export function useRuling() {
  beforeAll(async () => {
    system = await createTestSystem()
    receiver = await startHttpReceiver()
    await system.startWorkers()
    await newTenant()
  })
  afterAll(async () => {
    await system.close()
    await receiver.close()
  })
  afterEach(newTenant)
}

/** Each test has a tenant of its own, with the destinations a, b and c, and a receiver that takes everything. */
export async function newTenant() {
  count += 1
  tenant = `tenant-${count}`
  receiver.reply({})
  receiver.requests.length = 0
  await system.tenant(tenant)
  for (const name of ['a', 'b', 'c']) await register(name)
}

/** Goes on as one that was there before. */
export function backTo(earlier: string) {
  tenant = earlier
}

export const sql = async <T extends object>(text: string, values: unknown[] = []) =>
  (await system.as(tenant, (db) => db.query<T & Record<string, unknown>>(text, values))).rows

export async function register(
  name: string,
  over: { tags?: string[]; status?: string; max_retries?: number } = {},
): Promise<string> {
  const rows = await sql<{ id: string }>(
    `insert into destinations (tenant_id, name, protocol, configuration, tags, status, max_retries)
     values ($1, $2, 'REST', $3, $4, $5, $6) returning id`,
    [
      tenant,
      name,
      JSON.stringify({ endpoint: `${receiver.url}/${name}` }),
      over.tags ?? [],
      over.status ?? 'active',
      over.max_retries ?? null,
    ],
  )
  return rows[0]!.id
}

let rules = 0
export async function rule(
  rule_type: RuleType,
  actions: Partial<Actions> | object,
  conditions: unknown = {},
): Promise<void> {
  rules += 1
  const content = {
    name: `rule-${rules}`,
    description: null,
    rule_type,
    conditions: JSON.stringify(conditions),
    actions: JSON.stringify(actions),
    priority: -rules,
    enabled: true,
  }
  await system.as(tenant, (db) => insertRule(db, tenant, content, []))
}

export const distribute = (job: Parameters<TestSystem['distribute']>[0] = {}) =>
  system.distribute({ tenant_id: tenant, ...job })
export const paths = () => receiver.requests.map(({ path }) => path.slice(1))

export const ended = (ref: DistributionRef) => system.ended(ref)

export async function rows(ref: DistributionRef): Promise<string[]> {
  return (await system.deliveries(ref)).map(({ destination_name, status, error_code }) =>
    [destination_name, status, error_code].filter(Boolean).join(' '),
  )
}

export async function retry(ref: DistributionRef, request: Partial<Parameters<typeof requestRetry>[2]> = {}) {
  const outcome = await system.as(tenant, (db) =>
    requestRetry(db, jobId(ref.distribution_id), { force: false, ...request }),
  )
  if (outcome.outcome === 'reset') await system.runs.signalRetry(ref, ABOUT)
  return outcome
}

/** Answers by the first step of the path; 200 where nothing is said. */
export const byName =
  (answers: Record<string, number>): Script =>
  ({ path }) => ({ status: answers[path.slice(1)] ?? 200 })
