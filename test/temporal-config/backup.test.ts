// `npm run backup` and `npm run restore`, as a person runs them.
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync, gzipSync } from 'node:zlib'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { removeReachableFolder } from '../../temporal-config/stack/reach.ts'
import { temporaryFolder } from '../support/folders.ts'
import { createEmptyDatabase, createTestDatabase, type EmptyDatabase, type TestDatabase } from '../support/postgres.ts'
import { runProgram } from '../support/programs.ts'
import { aDestination, aJob, anAttempt, aTenant } from '../support/rows.ts'

vi.setConfig({ testTimeout: 120_000, hookTimeout: 60_000 })

const dir = temporaryFolder('backup')
const file = join(dir, 'one.sql.gz')
let source: TestDatabase
let owner: pg.Client

/** What a careless format would change. */
const ODD = { text: 'a\tb\\c\r\n\u2028\u2029\u0085"\\.', line: '\\.', big: '12345678901234567890', emoji: '\u{1f600}' }

async function run(program: 'backup' | 'restore', args: string[], env: Record<string, string>) {
  const { exited, lines } = runProgram(`temporal-config/programs/${program}.ts`, args, { DATABASE_URL: '', ...env })
  return { code: await exited, text: lines.join('\n') }
}

/** Every row of every table, as text. */
async function everything(url: string): Promise<Record<string, string[]>> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    const { rows: tables } = await client.query<{ name: string }>(
      `select relname as name from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')
          and not relispartition and relname <> 'schema_migrations' order by 1`,
    )
    const all: Record<string, string[]> = {}
    for (const { name } of tables) {
      const { rows } = await client.query<{ row: string }>(`select t::text as row from ${name} t order by 1`)
      all[name] = rows.map(({ row }) => row)
    }
    return all
  } finally {
    await client.end()
  }
}

beforeAll(async () => {
  source = await createTestDatabase()
  owner = new pg.Client({ connectionString: source.adminUrl })
  await owner.connect()
  for (const tenant of ['acme', 'globex']) {
    await aTenant(owner, tenant)
    await aDestination(owner, { tenant_id: tenant, name: `of-${tenant}` })
    for (let n = 0; n < 50; n++) {
      const id = await aJob(owner, { tenant_id: tenant, payload: { ...ODD, n }, error_message: ODD.text })
      await anAttempt(owner, { distribution_job_id: id, tenant_id: tenant, error_message: ODD.line })
    }
  }
  await owner.query("select make_month('2026-01-01')")
  await owner.query("select nextval('distribution_ordering') from generate_series(1, 41)")
})
afterAll(async () => {
  await owner.end()
  await source.close()
  rmSync(dir, { recursive: true, force: true })
})

describe('a backup', () => {
  it('contains every row of every tenant, in a file that only its owner can read', async () => {
    const { code, text } = await run('backup', [file], { DATABASE_ADMIN_URL: source.adminUrl })
    expect(code, text).toBe(0)
    expect(text).toMatch(/2 tenants, 100 distributions, 100 attempts/)
    expect(text).toContain('ENCRYPTION_KEYS')
    expect(statSync(file).mode & 0o777).toBe(0o600)
    expect(existsSync(`${file}.part`)).toBe(false)
  })

  it('never overwrites an existing file', async () => {
    const { code, text } = await run('backup', [file], { DATABASE_ADMIN_URL: source.adminUrl })
    expect({ code, text }).toEqual({ code: 1, text: `${file} already exists` })
  })

  it('says that the folder of its file does not exist', async () => {
    const folder = join(dir, 'missing')
    const { code, text } = await run('backup', [join(folder, 'x.gz')], { DATABASE_ADMIN_URL: source.adminUrl })
    expect({ code, text }).toEqual({ code: 1, text: `the folder ${folder} does not exist` })
  })

  it('is refused to a role that does not see all rows, and leaves no file', async () => {
    const other = join(dir, 'other.sql.gz')
    const { code, text } = await run('backup', [other], { DATABASE_ADMIN_URL: source.url })
    expect(code).toBe(1)
    expect(text).toContain("does not see all tenants' rows")
    expect([existsSync(other), existsSync(`${other}.part`)]).toEqual([false, false])
  })

  it('is one snapshot, while rows are written', async () => {
    const other = join(dir, 'busy.sql.gz')
    let writing = true
    const writer = (async () => {
      while (writing) {
        const id = await aJob(owner, { tenant_id: 'acme' })
        await anAttempt(owner, { distribution_job_id: id, tenant_id: 'acme' })
      }
    })()
    const { code, text } = await run('backup', [other], { DATABASE_ADMIN_URL: source.adminUrl })
    writing = false
    await writer
    expect(code, text).toBe(0)
    const script = gunzipSync(readFileSync(other)).toString()
    const { rows } = JSON.parse(
      script
        .trimEnd()
        .split('\n')
        .at(-1)!
        .replace(/^-- distributor backup ends: /, ''),
    )
    // Each job is there with its attempt, except the last one, whose attempt came after the snapshot.
    expect(rows.distribution_jobs - rows.distribution_attempts).toBeLessThanOrEqual(1)
    await owner.query("delete from distribution_jobs where created_at > now() - interval '1 day' and payload = '{}'")
  })

  it.each([
    ['a database that is not ours', async () => (await empty()).adminUrl, 'no schema of the Distributor'],
    ['a database without tenants', async () => (await fresh()).adminUrl, 'nothing to back up'],
  ])('of %s ends 1 and leaves no file', async (_, url, says) => {
    const other = join(dir, 'none.sql.gz')
    const { code, text } = await run('backup', [other], { DATABASE_ADMIN_URL: await url() })
    expect(code).toBe(1)
    expect(text).toContain(says)
    expect(existsSync(other)).toBe(false)
  })
})

const made: TestDatabase[] = []
const empty = async (): Promise<EmptyDatabase> => {
  const database = await createEmptyDatabase()
  made.push(database)
  return database
}
const fresh = async (): Promise<TestDatabase> => {
  const database = await createTestDatabase()
  made.push(database)
  return database
}
afterAll(() => Promise.all(made.map((database) => database.close())))

describe('a restore', () => {
  it.each([
    ['an empty database', () => empty()],
    ['a database that was migrated', () => fresh()],
  ])('into %s brings back every row, and the views', async (_, make) => {
    const target = await make()
    const { code, text } = await run('restore', [file], { DATABASE_ADMIN_URL: target.adminUrl })
    expect(code, text).toBe(0)
    expect(await everything(target.adminUrl)).toEqual(await everything(source.adminUrl))
    const client = new pg.Client({ connectionString: target.adminUrl })
    await client.connect()
    const { rows: definition } = await client.query(
      `select rtrim(pg_get_viewdef('distribution_summary_mv'), ';') as text`,
    )
    const { rows } = await client.query(
      `select (select count(*)::int from distribution_summary_mv) as views,
              (select count(*)::int from (${definition[0].text}) as v) as summaries,
              (select last_value::int from distribution_ordering) as ordering,
              (select count(*)::int from pg_class where relname = 'distribution_jobs_y2026m01') as months,
              (select bool_and(relforcerowsecurity) from pg_class where relname in ('distribution_jobs', 'tenants')) as forced`,
    )
    await client.end()
    // Three when the rows are of two hours, otherwise two.
    const { summaries } = rows[0]
    expect([2, 3]).toContain(summaries)
    expect(rows).toEqual([{ views: summaries, summaries, ordering: 41, months: 1, forced: true }])
    const again = await run('restore', [file], { DATABASE_ADMIN_URL: target.adminUrl })
    expect(again.code).toBe(1)
    expect(again.text).toContain('the database is not empty: it has 2 tenants. With --replace')
    const replaced = await run('restore', [file, '--replace'], { DATABASE_ADMIN_URL: target.adminUrl })
    expect(replaced.code, replaced.text).toBe(0)
    expect(await everything(target.adminUrl)).toEqual(await everything(source.adminUrl))
  })

  it('is refused while the service is connected', async () => {
    const target = await fresh()
    const service = new pg.Client({ connectionString: target.url, application_name: 'distributor-api' })
    await service.connect()
    const { code, text } = await run('restore', [file], { DATABASE_ADMIN_URL: target.adminUrl })
    await service.end()
    expect(code).toBe(1)
    expect(text).toContain('the service is connected to this database (distributor-api): stop it first')
  })

  it.each([
    ['that was truncated', (bytes: Buffer) => bytes.subarray(0, bytes.length - 200), /damaged|not complete/],
    [
      'that was truncated and compressed again',
      (bytes: Buffer) => gzipSync(gunzipSync(bytes).subarray(0, -300)),
      /not complete/,
    ],
    [
      'that lacks a row',
      (bytes: Buffer) =>
        gzipSync(
          gunzipSync(bytes)
            .toString()
            .replace(/^(COPY public\."tenants".*\n).*\n/m, '$1'),
        ),
      /tenants: only 1 of 2 rows could be read|violates foreign key/,
    ],
    ['that is not a backup', () => gzipSync('select 1;\n'), /is not a backup made by npm run backup/],
    ['that is not compressed', () => Buffer.from('hello'), /damaged or not a backup/],
    [
      'of a newer version',
      (bytes: Buffer) => gzipSync(gunzipSync(bytes).toString().replace('"migrations":[', '"migrations":["9999_x",')),
      /newer version/,
    ],
    [
      'of a version before 0.2.0',
      (bytes: Buffer) =>
        gzipSync(
          gunzipSync(bytes)
            .toString()
            .replace(/"migrations":\[.*?\]/, '"migrations":["0001_extensions","0068_rows_by_hand"]'),
        ),
      /the backup was made by a version before 0\.2\.0/,
    ],
  ])('of a file %s exits with 1 and changes nothing', async (_, change, says) => {
    const bad = join(dir, 'bad.sql.gz')
    writeFileSync(bad, change(readFileSync(file)))
    const target = await fresh()
    const { code, text } = await run('restore', [bad], { DATABASE_ADMIN_URL: target.adminUrl })
    expect(code, text).toBe(1)
    expect(text).toMatch(says)
    expect((await everything(target.adminUrl)).distribution_jobs).toEqual([])
  })

  it('by psql works as well, into a database that was migrated and is empty', async () => {
    const target = await fresh()
    const script = join(dir, 'one.sql')
    writeFileSync(script, gunzipSync(readFileSync(file)))
    execFileSync('psql', ['-q', '-v', 'ON_ERROR_STOP=1', '-f', script, target.adminUrl], { stdio: 'pipe' })
    expect(await everything(target.adminUrl)).toEqual(await everything(source.adminUrl))
    expect(() => execFileSync('psql', ['-q', '-f', script, target.adminUrl], { stdio: 'pipe' })).toThrow(/not empty/)
  })
})

describe('the embedded database', () => {
  it('is backed up while nothing runs, and restored into another DATA_DIR', async () => {
    const [here, there] = [join(dir, 'here'), join(dir, 'there')]
    const env = { DATABASE_PORT: '0', DATABASE_ADMIN_URL: '' }
    try {
      const none = await run('backup', [join(dir, 'x.sql.gz')], { ...env, DATA_DIR: here })
      expect(none).toEqual({ code: 1, text: expect.stringContaining(`there is no embedded database in ${here}`) })
      expect(existsSync(here)).toBe(false)
      const restored = await run('restore', [file], { ...env, DATA_DIR: here })
      expect(restored.code, restored.text).toBe(0)
      expect(restored.text).toContain('its cluster lies in ')
      const other = join(dir, 'embedded.sql.gz')
      const saved = await run('backup', [other], { ...env, DATA_DIR: here })
      expect(saved.code, saved.text).toBe(0)
      expect(saved.text).toMatch(/2 tenants, 100 distributions/)
      expect(saved.text).toContain(`${here}/encryption-keys`)
      const again = await run('restore', [other], { ...env, DATA_DIR: there })
      expect(again.code, again.text).toBe(0)
      const refused = await run('restore', [other], { ...env, DATA_DIR: there })
      expect(refused).toEqual({ code: 1, text: expect.stringContaining('is not empty') })
      const replaced = await run('restore', [other, '--replace'], { ...env, DATA_DIR: there })
      expect(replaced.code, replaced.text).toBe(0)
    } finally {
      for (const folder of [here, there]) removeReachableFolder(join(folder, 'postgres'), 'postgres')
    }
  })
})

it.each([
  ['backup', ['a', 'b']],
  ['backup', ['--force']],
  ['restore', []],
  ['restore', ['f', '--force']],
] as const)('%s %s shows how it is used', async (program, args) => {
  const { code, text } = await run(program, [...args], {})
  expect(code).toBe(1)
  expect(text).toMatch(new RegExp(`^usage: npm run ${program} -- `))
})
