// The API answers correctly for any content of a jsonb column: an operator may have written it with psql.
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type ApiUnderTest, aSubmission, inline, startApi } from './api-under-test.ts'

let api: ApiUnderTest
let owner: pg.Client
let columns: { table: string; column: string }[]
const ids: Record<string, string> = {}

const HOSTILE = ['null', '7', '"x"', '[]', '[null]', '{"a": {"b": [1]}}']

beforeAll(async () => {
  api = await startApi({ check_answers: false })
  owner = new pg.Client({ connectionString: api.pool.options.connectionString!.replace('test_login', 'test_owner') })
  await owner.connect()
  const admin = { key: api.keys.acme.admin }
  const made = async (method: string, path: string, body: unknown, options: object = admin) => {
    const answer = await api.call(method, path, body, options)
    if (answer.status >= 300) throw new Error(`${path}: ${answer.text}`)
    return answer.body
  }
  ids.destination = (
    await made('POST', '/destinations/register', {
      name: 'reg',
      protocol: 'REST',
      configuration: { endpoint: 'https://receiver.example/in' },
    })
  ).id
  ids.data_type = (await made('POST', '/data-types', { id: 'kept', name: 'Kept', schema_definition: {} })).id
  ids.rule = (
    await made('POST', '/rules', {
      name: 'r',
      rule_type: 'routing',
      conditions: { path: 'data_type', operator: 'equal', value: 'kept' },
      actions: { destinations: ['reg'] },
    })
  ).id
  ids.schedule = (
    await made('POST', '/distribution/schedules', {
      name: 's',
      cron: '0 0 * * *',
      submission: { data_type: 'kept', payload: 1, destinations: ['reg'] },
    })
  ).id
  ids.distribution = (
    await made('POST', '/distribution/submit', aSubmission({ destinations: ['reg', inline()] }))
  ).distribution_id
  ids.planned = (await made('POST', '/distribution/submit', aSubmission({ destinations: ['reg'] }))).distribution_id
  ids.batch = (
    await made('POST', '/distribution/bulk-submit', { distributions: [aSubmission(), { data_type: 'x' }] })
  ).batch_id
  const job = ids.planned!.slice(5)
  await api.rows(
    'acme',
    `insert into distribution_deliveries (distribution_job_id, destination_name, tenant_id, protocol, position, status, configuration)
     values ($1, 'reg', 'acme', 'REST', 1, 'failed', '{}')`,
    [job],
  )
  await api.rows(
    'acme',
    `insert into distribution_attempts (distribution_job_id, destination_name, tenant_id, delivery_id, attempt_number, status)
     values ($1, 'reg', 'acme', new_uuidv7(), 1, 'failed')`,
    [job],
  )
  await api.rows(
    'acme',
    "update distribution_jobs set planned_at = now(), plan_explanation = '{}', status = 'failed', completed_at = clock_timestamp() where id = $1",
    [job],
  )
  const { rows } = await owner.query(
    `select c.table_name as table, c.column_name as column
       from information_schema.columns c
       join pg_class t on t.relname = c.table_name and t.relnamespace = 'public'::regnamespace
      where c.table_schema = 'public' and c.data_type = 'jsonb' and t.relkind in ('r', 'p') and not t.relispartition
      order by 1, 2`,
  )
  columns = rows
})
afterAll(async () => {
  await owner.end()
  await api.close()
})

/** Every call that reads what is there. */
async function readAll(): Promise<{ path: string; status: number; text: string }[]> {
  const admin = api.keys.acme.admin
  const platform = api.keys.acme.platform
  const paths = [
    `/distribution/${ids.distribution}/status`,
    `/distribution/${ids.distribution}/attempts`,
    `/distribution/${ids.distribution}/explanation`,
    `/distribution/${ids.planned}/status`,
    `/distribution/${ids.planned}/attempts`,
    `/distribution/${ids.planned}/explanation`,
    `/distribution/batch/${ids.batch}/status`,
    '/distribution/list',
    '/distribution/list?status=pending',
    '/distribution/list?destination=reg',
    `/distribution/list?batch_id=${ids.batch}`,
    '/distribution/schedules',
    `/distribution/schedules/${ids.schedule}`,
    '/destinations/list',
    `/destinations/${ids.destination}`,
    '/destination-types',
    '/data-types',
    '/data-types/kept',
    '/rules',
    `/rules/${ids.rule}`,
    '/routing/default',
    '/credentials',
    '/audit-log',
  ]
  const asked = [
    ...paths.map((path) => ['GET', path, undefined, admin] as const),
    ...['/tenants', '/tenants/acme', '/tenants/acme/api-keys'].map(
      (path) => ['GET', path, undefined, platform] as const,
    ),
    ['POST', '/distribution/retry', { destination: 'reg', dry_run: true }, admin] as const,
    ['POST', '/rules/evaluate', { data_type: 'kept', payload: {} }, admin] as const,
    ['POST', '/destinations/reg/preview', { payload: {} }, admin] as const,
    ['POST', '/distribution/submit', { data_type: 'kept', payload: {}, destinations: ['reg'] }, admin] as const,
  ]
  return await Promise.all(
    asked.map(async ([method, path, body, key]) => {
      const { status, text } = await api.call(method, path, body, { key })
      return { path, status, text }
    }),
  )
}

it('reads everything while the rows are as they should be', async () => {
  for (const { path, status, text } of await readAll()) expect(status, `${path}: ${text}`).toBeLessThan(400)
  expect(columns.length).toBeGreaterThan(25)
})

describe('a jsonb column', () => {
  it.each(HOSTILE)('that holds %s breaks no answer', async (value) => {
    const broken: string[] = []
    const from = api.log.lines().length
    for (const { table, column } of columns) {
      // A check of the table may refuse it, or it is no jsonb.
      await owner.query('begin')
      const taken = await owner.query(`update ${table} set ${column} = $1::jsonb`, [value]).then(
        () => true,
        () => false,
      )
      await owner.query('rollback')
      if (!taken) continue
      const { rows: before } = await owner.query(`select to_jsonb(t) as row from (select * from ${table}) t`)
      await owner.query(`update ${table} set ${column} = $1::jsonb`, [value])
      for (const { path, status, text } of await readAll()) {
        if (status >= 500) broken.push(`${table}.${column}: ${path}: ${text.slice(0, 200)}`)
      }
      await restore(
        table,
        column,
        before.map(({ row }) => row),
      )
    }
    const errors = api.log
      .lines()
      .slice(from)
      .flatMap((line) => /"stack":"([^"]{0,300})/.exec(line)?.[1] ?? [])
    expect(broken, errors.slice(0, 10).join('\n')).toEqual([])
  })
})

/** Puts the column's values back, by the primary key. */
async function restore(table: string, column: string, before: Record<string, unknown>[]): Promise<void> {
  const { rows: keys } = await owner.query<{ name: string }>(
    `select a.attname as name from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attnum = any (i.indkey)
      where i.indrelid = $1::regclass and (i.indisprimary or i.indisunique and i.indnullsnotdistinct)`,
    [table],
  )
  for (const row of before) {
    const where = keys.map(({ name }, i) => `${name}::text is not distinct from $${i + 2}`).join(' and ')
    await owner.query(`update ${table} set ${column} = $1::jsonb where ${where}`, [
      row[column] === null ? null : JSON.stringify(row[column]),
      ...keys.map(({ name }) => (row[name] === null ? null : String(row[name]))),
    ])
  }
}
