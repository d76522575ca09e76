// What PostgreSQL says about the statements that every distribution needs: planned once for all values, each reads the
// partitions of one month. Otherwise the cost of a distribution would grow with the months that are kept.
import { createRequire } from 'node:module'
import pg from 'pg'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { BoundedClient } from '../../db/client.ts'
import { byName, distribute, ended, receiver, retry, rows, rule, system, useRuling } from '../support/ruling.ts'

const { prepareValue } = createRequire(import.meta.url)('pg/lib/utils.js') as { prepareValue(value: unknown): unknown }

interface PlanNode {
  'Relation Name'?: string
  Plans?: PlanNode[]
}

/** By the text of a statement: the partitions of its plan that are left when its parameters are known. */
const seen = new Map<string, Set<string>>()
const original = BoundedClient.prototype.query

useRuling()

describe('a statement of the hot path', () => {
  beforeEach(async () => {
    const owner = new pg.Client({ connectionString: system.database.adminUrl })
    await owner.connect()
    await owner.query(
      'select make_month((this_month() - make_interval(months => m))::date) from generate_series(1, 3) as m',
    )
    await owner.end()
    seen.clear()
    vi.spyOn(BoundedClient.prototype, 'query').mockImplementation(function (this: BoundedClient, ...given: unknown[]) {
      const asked = given[0] as { name?: string; text: string; values: unknown[] }
      if (!asked?.name || /^\s*call/.test(asked.text)) return original.apply(this, given)
      return explain(this, { ...asked, name: asked.name }).then(() => original.apply(this, given))
    })
  })
  afterEach(() => {
    vi.restoreAllMocks()
  })

  /** Runs the statement as it would be, reads its plan, and undoes it. */
  async function explain(
    client: BoundedClient,
    { name, text, values }: { name: string; text: string; values: unknown[] },
  ) {
    const query = (sql: string) => original.apply(client, [sql])
    const asked = `"explained ${name}"`
    await query('savepoint explained')
    await query(`prepare ${asked} as ${text}`)
    const given = values.length > 0 ? `(${values.map(literal).join(', ')})` : ''
    const { rows } = await query(`explain (analyze, format json) execute ${asked}${given}`)
    collect(rows[0]['QUERY PLAN'][0].Plan, known(text))
    await query('rollback to explained')
    await query(`deallocate ${asked}`)
  }

  function known(text: string): Set<string> {
    const tables = seen.get(text) ?? new Set()
    seen.set(text, tables)
    return tables
  }

  function literal(value: unknown): string {
    const prepared = prepareValue(value)
    if (prepared === null || prepared === undefined) return 'null'
    return pg.escapeLiteral(Buffer.isBuffer(prepared) ? `\\x${prepared.toString('hex')}` : String(prepared))
  }

  function collect(node: PlanNode, into: Set<string>): void {
    const partition = /_y\d+m\d+$/.exec(node['Relation Name'] ?? '')
    if (partition) into.add(partition[0])
    for (const child of node.Plans ?? []) collect(child, into)
  }

  /** The texts that read partitions, by how many months each reads. */
  const months = () => [...seen].filter(([, { size }]) => size > 0).map(([text, { size }]) => ({ text, months: size }))

  it('reads one month, from the plan to the end, with failures, retries and standbys', async () => {
    await rule('routing', { destinations: ['a', 'b'], strategy: 'failover' })
    await rule('routing', { destinations: ['c'] })
    receiver.reply(byName({ a: 422, c: 503 }))
    const ref = await distribute({ max_retries: 1, ordering_key: 'k', callback_url: `${receiver.url}/callback` })
    await ended(ref)
    receiver.reply({})
    await retry(ref)
    await ended(ref)
    expect(await rows(ref)).toEqual(['a failed REJECTED', 'b success', 'c success'])
    // Plan, opening, closing, end, ordering, callback.
    expect(months().length).toBeGreaterThan(12)
    // Those before and after it with the same ordering key may be of any month.
    const byKey = /ordering_key = (\$|\()/
    expect(months().filter(({ text, months }) => months > 1 && !byKey.test(text))).toEqual([])
  })
})
