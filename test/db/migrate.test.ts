import pg from 'pg'
import { afterEach, expect, it } from 'vitest'
import {
  knownMigrations,
  migrate,
  missingMigrations,
  missingProtocols,
  SchemaRefused,
} from '../../db/upkeep/migrate.ts'
import { createEmptyDatabase, type EmptyDatabase } from '../support/postgres.ts'
import { onEachFreshServer } from '../support/postgres-versions.ts'

onEachFreshServer((server) => {
  const open: EmptyDatabase[] = []

  async function emptyDatabase(): Promise<EmptyDatabase> {
    const database = await createEmptyDatabase({ server: server() })
    open.push(database)
    return database
  }

  async function run(url: string, sql: string): Promise<pg.QueryResult> {
    const client = new pg.Client({ connectionString: url })
    await client.connect()
    try {
      return await client.query(sql)
    } finally {
      await client.end()
    }
  }

  /** As on a server that was never migrated: its databases and our two roles are gone. */
  afterEach(async () => {
    for (const database of open.splice(0)) await database.close()
    await run(server().url, 'drop role if exists distributor_system; drop role if exists distributor_app')
  })

  it('migrates under an owner that is no superuser and may create roles', async () => {
    const database = await emptyDatabase()
    expect(await migrate(database.adminUrl)).toEqual(knownMigrations())
    const { rows } = await run(
      database.adminUrl,
      `select count(*)::int as tables from pg_class
       where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') and not relispartition
         and relname <> 'schema_migrations'`,
    )
    expect(rows[0].tables).toBe(28)
  })

  it('is safe to run twice: the second time nothing is applied', async () => {
    const database = await emptyDatabase()
    await migrate(database.adminUrl)
    expect(await migrate(database.adminUrl)).toEqual([])
  })

  it('tells the application’s login which migrations are missing', async () => {
    const database = await emptyDatabase()
    const missing = async () => {
      const client = new pg.Client({ connectionString: database.url })
      await client.connect()
      try {
        return await missingMigrations(client)
      } finally {
        await client.end()
      }
    }
    expect(await missing()).toEqual(knownMigrations())
    await migrate(database.adminUrl)
    await database.admitLogin()
    expect(await missing()).toEqual([])
    await run(database.adminUrl, `delete from schema_migrations where name like '0020%'`)
    expect(await missing()).toEqual(knownMigrations().filter((name) => name.startsWith('0020')))
  })

  it('adds the protocols that it is given, and changes none that is there', async () => {
    const database = await emptyDatabase()
    await migrate(database.adminUrl)
    const types = async () => (await run(database.adminUrl, 'select * from destination_types order by id')).rows
    const before = await types()
    const protocols = ['REST', 'LINE']
    const missing = async () => {
      const client = new pg.Client({ connectionString: database.adminUrl })
      await client.connect()
      try {
        return await missingProtocols(client, protocols)
      } finally {
        await client.end()
      }
    }
    expect(await missing()).toEqual(['LINE'])
    for (let run = 1; run <= 2; run++) await migrate(database.adminUrl, { protocols })
    expect(await missing()).toEqual([])
    const after = await types()
    expect(after.filter(({ id }) => id !== 'LINE')).toEqual(before)
    expect(after.filter(({ id }) => id === 'LINE')).toMatchObject([{ name: 'LINE', protocol: 'LINE' }])
  })

  it('lets a destination have only a protocol that was added', async () => {
    const database = await emptyDatabase()
    await migrate(database.adminUrl)
    const insert = () =>
      run(
        database.superuserUrl,
        "insert into destinations (tenant_id, name, protocol) values ('acme', 'line', 'LINE') returning protocol",
      )
    await expect(insert()).rejects.toThrow(/fk_destinations_type/)
    await migrate(database.adminUrl, { protocols: ['LINE'] })
    expect((await insert()).rows).toEqual([{ protocol: 'LINE' }])
  })

  it('is safe to run at once, in one database and in two of one server', async () => {
    const [first, second] = [await emptyDatabase(), await emptyDatabase()]
    const applied = await Promise.all([
      migrate(first.adminUrl),
      migrate(second.adminUrl),
      migrate(first.adminUrl),
      migrate(second.adminUrl),
      migrate(first.adminUrl),
    ])
    const counts = applied.map((names) => names.length).sort((a, b) => a - b)
    expect(counts).toEqual([0, 0, 0, knownMigrations().length, knownMigrations().length])
  })

  it('refuses a schema that is newer than itself and changes nothing', async () => {
    const database = await emptyDatabase()
    await migrate(database.adminUrl)
    await run(database.adminUrl, "insert into schema_migrations (name, run_on) values ('9999_from_the_future', now())")
    await expect(migrate(database.adminUrl)).rejects.toThrow(SchemaRefused)
    await expect(migrate(database.adminUrl)).rejects.toThrow(/newer version than this one: 9999_from_the_future$/)
  })

  it('refuses the schema of a version before 0.2.0 and changes nothing', async () => {
    const database = await emptyDatabase()
    await run(
      database.adminUrl,
      'create table schema_migrations (id serial primary key, name varchar, run_on timestamp)',
    )
    await run(
      database.adminUrl,
      "insert into schema_migrations (name, run_on) values ('0001_extensions', now()), ('0068_rows_by_hand', now())",
    )
    const migrated = migrate(database.adminUrl)
    await expect(migrated).rejects.toThrow(SchemaRefused)
    await expect(migrated).rejects.toThrow(
      /^the database was made by a version before 0\.2\.0 \(its migrations are 0001_extensions to 0068_rows_by_hand\) and cannot be upgraded: use that version, or start with a new, empty database$/,
    )
    const { rows } = await run(
      database.adminUrl,
      "select (select count(*)::int from schema_migrations) as names, to_regclass('tenants') as tenants",
    )
    expect(rows).toEqual([{ names: 2, tenants: null }])
  })

  it('leaves nothing behind when it fails, and works once the reason is gone', async () => {
    const database = await emptyDatabase()
    await run(database.adminUrl, 'create table audit_log (id int)')
    await expect(migrate(database.adminUrl)).rejects.toThrow(/audit_log/)
    const { rows } = await run(database.adminUrl, "select to_regclass('distribution_jobs') as jobs")
    expect(rows[0].jobs).toBeNull()
    await run(database.adminUrl, 'drop table audit_log')
    expect(await migrate(database.adminUrl)).toEqual(knownMigrations())
  })

  it('works where roles are made beforehand, and until then its hints say what to do', async () => {
    const database = await emptyDatabase()
    const superuser = server().url
    await run(superuser, "create role managed_owner login password 'managed'")
    const url = new URL(database.superuserUrl)
    url.username = 'managed_owner'
    url.password = 'managed'
    await run(database.superuserUrl, `alter database ${database.name} owner to managed_owner`)
    try {
      const hints: string[] = []
      let applied: string[] = []
      // Each refusal names one missing thing; an administrator follows the hint and tries again.
      while (applied.length === 0 && hints.length < 5) {
        try {
          applied = await migrate(url.href)
        } catch (error) {
          const hint = (error as { hint?: string }).hint ?? ''
          const statement = /^As an administrator: ((?:create role|grant) .+)$/.exec(hint)?.[1]
          if (!statement) throw error
          hints.push(statement)
          await run(superuser, statement)
        }
      }
      expect(hints).toEqual([
        'create role distributor_system nologin',
        'create role distributor_app nologin',
        'grant distributor_system to managed_owner',
      ])
      expect(applied).toEqual(knownMigrations())
    } finally {
      for (const left of open.splice(0)) await left.close()
      await run(superuser, 'drop role managed_owner')
    }
  })
})
