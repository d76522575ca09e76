// The commands for pg_dump and pg_restore that docs/operate-backup.md gives, on the PostgreSQL whose programs are here.
import { execFileSync } from 'node:child_process'
import { readFileSync, rmSync } from 'node:fs'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { createPool, withoutTenant, withTenant } from '../../db/pool.ts'
import { refreshView, VIEWS } from '../../db/upkeep/views.ts'
import { temporaryFolder } from '../support/folders.ts'
import { createTestDatabase, type TestDatabase, type TestServer } from '../support/postgres.ts'
import { postgres15Programs, startPostgres15 } from '../support/postgres-15.ts'
import { aJob, anAttempt, aTenant } from '../support/rows.ts'

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 })

const programs = postgres15Programs()
const page = readFileSync(new URL('../../docs/operate-backup.md', import.meta.url), 'utf8')
/** The lines of the page that begin with this program, without the program's name. */
const documented = (program: string) =>
  page.split('\n').flatMap((line) => (line.startsWith(`${program} `) ? [line] : []))

describe.skipIf(!programs && !process.env.CI)('by hand', () => {
  const dir = temporaryFolder('dump')
  let server: TestServer
  let database: TestDatabase
  let restoredUrl: string

  beforeAll(async () => {
    server = await startPostgres15()
    database = await createTestDatabase({ server })
    const owner = new pg.Client({ connectionString: database.adminUrl })
    await owner.connect()
    for (const tenant of ['acme', 'globex']) {
      await aTenant(owner, tenant)
      for (let n = 0; n < 5; n++) {
        const id = await aJob(owner, { tenant_id: tenant })
        await anAttempt(owner, { distribution_job_id: id, tenant_id: tenant })
      }
    }
    await owner.end()
  })
  afterAll(async () => {
    await database.close()
    await server.stop()
    rmSync(dir, { recursive: true, force: true })
  })

  /** Runs a line of the page in a shell, with the addresses that it names. */
  function shell(line: string, env: Record<string, string>): string {
    const path = `${programs ?? ''}:${process.env.PATH}`
    return execFileSync('/bin/sh', ['-ec', line], {
      cwd: dir,
      env: { ...process.env, PATH: path, ...env },
      encoding: 'utf8',
    })
  }

  it('pg_dump holds the rows of all tenants', () => {
    const [dump] = documented('pg_dump')
    shell(dump!, { DATABASE_ADMIN_URL: database.adminUrl })
    const list = shell('pg_restore --data-only --file=- distributor.dump', {})
    expect(list.match(/^[0-9a-f]{8}-.*\tacme\tdist_/gm)).toHaveLength(5)
    expect(list.match(/^[0-9a-f]{8}-.*\tglobex\tdist_/gm)).toHaveLength(5)
  })

  it('pg_restore brings them back under the same roles, with the views filled, and the service can use them', async () => {
    const [restore] = documented('pg_restore')
    const name = `${database.name}_again`
    shell(`createdb --maintenance-db="$SERVER" --owner=test_owner ${name}`, { SERVER: server.url })
    restoredUrl = database.adminUrl.replace(database.name, name)
    const [before, after] = documented('psql')
    for (const line of [before, restore, after]) shell(line!, { NEW_DATABASE_ADMIN_URL: restoredUrl })
    const pool = createPool({
      connectionString: database.url.replace(database.name, name),
      max: 2,
      application_name: 'test',
    })
    try {
      for (const tenant of ['acme', 'globex']) {
        const { rows } = await withTenant(pool, tenant, (db) =>
          db.query(
            `select (select count(*)::int from distribution_jobs) as jobs, (select count(*)::int from distribution_attempts) as attempts,
                    (select sum(total_distributions)::int from distribution_summary) as shown`,
          ),
        )
        expect(rows).toEqual([{ jobs: 5, attempts: 5, shown: 5 }])
      }
      for (const view of VIEWS) await withoutTenant(pool, (db) => refreshView(db, view))
      await withTenant(pool, 'acme', (db) => db.query("call submit_distribution('acme', null, 'report', '{}', '[]')"))
    } finally {
      await pool.end()
    }
  })

  it('a dump of only two tables contains no rows, as the page says', () => {
    shell('pg_dump --format=custom --table=distribution_jobs --table=distribution_attempts --file=two.dump "$URL"', {
      URL: server.url.replace(/\/postgres$/, `/${database.name}`),
    })
    expect(shell('pg_restore --data-only --file=- two.dump', {})).not.toMatch(/^[0-9a-f]{8}-/m)
    expect(page).toContain('--table=distribution_jobs')
  })
})
