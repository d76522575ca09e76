// Every tenant's rows are its own. Tables are found in the catalogue, so that a new one without policies fails here.
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createPool, type Db, type Pool, withoutTenant, withTenant } from '../../db/pool.ts'
import type { TestDatabase } from '../support/postgres.ts'
import { onEachPostgres } from '../support/postgres-versions.ts'
import { aDestination, aJob, aTenant } from '../support/rows.ts'

/** Without a tenant on purpose: lookups that all may read, the migrations' own table, and marks of work over all tenants. */
const SHARED = ['destination_types', 'rule_types', 'schema_migrations', 'event_marks']

/** A value for a column that must have one. The check of a policy comes before all other checks of a row. */
const VALUES: Record<string, string> = {
  uuid: 'new_uuidv7()',
  int4: '1',
  jsonb: "'{}'",
  bytea: "'\\x00'",
  timestamptz: 'now()',
  varchar: "'x'",
  text: "'x'",
}

onEachPostgres((database: () => TestDatabase) => {
  let pool: Pool
  let owner: pg.Client
  let tables: { name: string; column: string; required: { name: string; type: string }[] }[]

  beforeAll(async () => {
    pool = createPool({ connectionString: database().url, max: 4, application_name: 'test' })
    owner = new pg.Client({ connectionString: database().adminUrl })
    await owner.connect()
    for (const tenant of ['acme', 'globex']) {
      await aTenant(owner, tenant)
      await aJob(owner, { tenant_id: tenant, data_type: tenant })
      await aDestination(owner, { tenant_id: tenant })
    }
    await owner.query("insert into data_types (id, tenant_id, name) values ('shared', null, 'Shared')")
    const { rows } = await owner.query(
      `select c.relname as name,
              array(
                select json_build_object('name', a.attname, 'type', t.typname)
                from pg_attribute a join pg_type t on t.oid = a.atttypid
                where a.attrelid = c.oid and a.attnum > 0 and a.attnotnull and not a.atthasdef and a.attidentity = ''
                order by a.attnum
              ) as required,
              case when c.relname = 'tenants' then 'id' else 'tenant_id' end as column
       from pg_class c
       where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
         and c.relname <> all($1)
       order by 1`,
      [SHARED],
    )
    tables = rows
  })
  afterAll(() => Promise.all([pool.end(), owner.end()]))

  function insertFor(table: (typeof tables)[number], tenant: string): string {
    const others = table.required.filter(({ name }) => name !== table.column)
    const columns = [table.column, ...others.map(({ name }) => name)].join(', ')
    const values = [`'${tenant}'`, ...others.map(({ type }) => VALUES[type] ?? `'no value for ${type}'`)].join(', ')
    return `insert into ${table.name} (${columns}) values (${values})`
  }

  /** The SQLSTATE with which `sql` fails for `tenant`, or 'done'. Nothing stays. */
  async function outcome(tenant: string, sql: string): Promise<string> {
    try {
      await withTenant(pool, tenant, async (db) => {
        await db.query(sql)
        throw new Error('done')
      })
      return 'unreachable'
    } catch (error) {
      return (error as { code?: string }).code ?? (error as Error).message
    }
  }

  it('every table but the shared lookups has a tenant, and forces row security', async () => {
    expect(tables.length).toBeGreaterThan(20)
    const { rows } = await owner.query(
      `select c.relname as name, c.relrowsecurity as enabled, c.relforcerowsecurity as forced,
              exists (
                select from pg_attribute a
                where a.attrelid = c.oid and a.attname = case c.relname when 'tenants' then 'id' else 'tenant_id' end
              ) as has_tenant
       from pg_class c where c.relname = any($1)`,
      [tables.map((table) => table.name)],
    )
    expect(rows).toHaveLength(tables.length)
    for (const row of rows) expect(row).toEqual({ name: row.name, enabled: true, forced: true, has_tenant: true })
  })

  it('refuses a row for a foreign tenant in every table, and not for the reason of its other columns', async () => {
    for (const table of tables) {
      // 42501: the policy, or a missing grant; the second line tells them apart.
      expect(await outcome('acme', insertFor(table, 'globex')), table.name).toBe('42501')
      expect(await outcome('acme', insertFor(table, 'acme')), table.name).not.toBe('42501')
    }
  })

  it('refuses a row without a tenant and a row when no tenant is set', async () => {
    for (const table of tables) {
      const sql = insertFor(table, 'acme')
      expect(await outcome('', sql), table.name).toBe('42501')
      expect(await outcome('acme', sql.replace("('acme'", '(null')), table.name).toMatch(/^(42501|23502)$/)
    }
  })

  it('shows, changes and deletes only rows of the tenant that is set', async () => {
    await withTenant(pool, 'acme', async (db) => {
      expect((await db.query('select data_type from distribution_jobs')).rows).toEqual([{ data_type: 'acme' }])
      expect((await db.query('select id from tenants')).rows).toEqual([{ id: 'acme' }])
      const changed = await db.query("update destinations set status = 'inactive' where tenant_id = 'globex'")
      expect(changed.rowCount).toBe(0)
      expect((await db.query('delete from idempotency_keys')).rowCount).toBe(0)
    })
  })

  it('refuses to hand a row over to another tenant', async () => {
    expect(await outcome('acme', "update destinations set tenant_id = 'globex'")).toBe('42501')
  })

  it('unset means none: on a new connection, and on one that had a tenant before', async () => {
    const fresh = new pg.Client({ connectionString: database().url })
    await fresh.connect()
    try {
      const count = async () => (await fresh.query('select count(*)::int as n from distribution_jobs')).rows[0].n
      expect(await count()).toBe(0)
      await fresh.query("begin; select set_config('app.tenant_id', 'acme', true)")
      expect(await count()).toBe(1)
      await fresh.query('commit')
      expect(await count()).toBe(0)
    } finally {
      await fresh.end()
    }
    await withoutTenant(pool, async (db) => {
      expect((await db.query('select from distribution_jobs')).rowCount).toBe(0)
    })
  })

  it('200 interleaved requests of two tenants, one aborting, never see each other’s rows', async () => {
    const seen = async (db: Db) =>
      (await db.query('select distinct tenant_id from distribution_jobs')).rows.map((row) => row.tenant_id)
    let next = 0
    const sender = async () => {
      while (next < 200) {
        const number = next++
        const tenant = number % 2 === 0 ? 'acme' : 'globex'
        const request = withTenant(pool, tenant, async (db) => {
          const before = await seen(db)
          if (number === 101) await db.query('select 1 / 0')
          await db.query('select pg_sleep(0.001)')
          return [...before, ...(await seen(db))]
        })
        if (number === 101) await expect(request).rejects.toThrow('division by zero')
        else expect(await request).toEqual([tenant, tenant])
      }
    }
    // Several times as many at a time as the pool has connections; a longer queue would be refused on a busy machine.
    await Promise.all(Array.from({ length: 20 }, sender))
    // Nothing stayed on the pooled connections.
    for (let connection = 0; connection < 4; connection++) {
      expect((await pool.query('select from distribution_jobs')).rowCount).toBe(0)
    }
  })

  describe('shared data types', () => {
    it('are read by every tenant and changed by none', async () => {
      await withTenant(pool, 'acme', async (db) => {
        expect((await db.query('select id, tenant_id from data_types')).rows).toEqual([
          { id: 'shared', tenant_id: null },
        ])
        expect((await db.query("update data_types set tenant_id = 'acme'")).rowCount).toBe(0)
        expect((await db.query('delete from data_types')).rowCount).toBe(0)
      })
      expect(await outcome('acme', "insert into data_types (id, tenant_id, name) values ('x', null, 'x')")).toBe(
        '42501',
      )
    })

    it('leave their id to a tenant’s own', async () => {
      expect(await outcome('acme', "insert into data_types (id, tenant_id, name) values ('shared', 'acme', 'x')")).toBe(
        'done',
      )
    })
  })

  it('grants nothing on partitions, on materialized views, or on what is not for the application', async () => {
    const { rows } = await owner.query(
      `select c.relname as name from pg_class c
       where c.relnamespace = 'public'::regnamespace
         and (c.relispartition and c.relkind = 'r' or c.relkind = 'm')
         and (has_table_privilege('test_login', c.oid, 'select, insert, update, delete, truncate')
           or has_table_privilege('distributor_app', c.oid, 'select, insert, update, delete, truncate'))`,
    )
    expect(rows).toEqual([])
    const writable = await owner.query(
      `select has_table_privilege('test_login', 'schema_migrations', 'insert, update, delete, truncate') as granted`,
    )
    expect(writable.rows).toEqual([{ granted: false }])
    const functions = await owner.query(
      `select p.oid::regprocedure::text as name from pg_proc p
       where p.pronamespace = 'public'::regnamespace and p.prosecdef and has_function_privilege('test_login', p.oid, 'execute')
       order by 1`,
    )
    expect(functions.rows.map((row) => row.name)).toEqual([
      'bring_forward()',
      'count_failed_deliveries()',
      'delete_shared_data_type(character varying)',
      'delete_shared_rule(uuid)',
      'deleted_destinations_in_use(integer)',
      'drop_month(date)',
      'due_batches(integer,boolean,uuid)',
      'due_jobs(integer,boolean,uuid)',
      'due_schedules(integer,boolean,uuid)',
      'due_turns(integer,character varying,character varying,character varying)',
      'due_webhooks(integer)',
      'ensure_partitions(integer)',
      'find_api_key(bytea)',
      'forget_limits()',
      'health_check_schedules()',
      'list_tenants()',
      'lock_shared_rule(uuid)',
      'notify_event_windows(interval,interval,integer)',
      'open_circuits()',
      'put_shared_data_type(character varying,character varying,text,jsonb,jsonb,boolean)',
      'put_shared_rule(uuid,character varying,text,character varying,jsonb,jsonb,integer,boolean,text[],text[],text[])',
      'queue_depths()',
      'refresh_view(text)',
      'refresh_views()',
      'sealed_key_ids()',
      'take_api_requests(character varying,text,integer)',
      'usable_platform_keys()',
      'waiting_targets(integer)',
    ])
  })

  it('every definer function sets its search path and is closed to the public', async () => {
    const { rows } = await owner.query(
      `select p.oid::regprocedure::text as name from pg_proc p
       where p.pronamespace = 'public'::regnamespace and p.prosecdef
         and (not exists (select from unnest(p.proconfig) as c where c like 'search_path=%')
           or exists (select from aclexplode(p.proacl) as a where a.grantee = 0)
           or p.proacl is null)`,
    )
    expect(rows).toEqual([])
  })

  it('grants no delete on what belongs to a distribution', async () => {
    expect(await outcome('acme', 'delete from distribution_jobs')).toBe('42501')
    expect(await outcome('acme', 'delete from audit_log')).toBe('42501')
    expect(await outcome('acme', "update audit_log set actor = 'somebody else'")).toBe('42501')
  })
})
