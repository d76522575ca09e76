import { chmodSync, cpSync, lstatSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { admitLogin, ensureDatabase } from '../../../temporal-config/stack/database.ts'
import { type PostgresOptions, type RunningPostgres, startPostgres } from '../../../temporal-config/stack/postgres.ts'
import { installedPackage } from '../../../temporal-config/stack/postgres-programs.ts'
import { clusterFolder, removeReachableFolder } from '../../../temporal-config/stack/reach.ts'

let root: string
let dir: string
const running: RunningPostgres[] = []

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'distributor-postgres-'))
  chmodSync(root, 0o711)
  dir = join(root, 'postgres')
})
afterEach(async () => {
  for (const server of running.splice(0)) await server.kill9()
  removeReachableFolder(dir, 'postgres')
  rmSync(root, { recursive: true, force: true })
})

async function start(options: Partial<PostgresOptions> = {}): Promise<RunningPostgres> {
  const server = await startPostgres({ dir, durable: false, ...options })
  running.push(server)
  return server
}

async function query<R extends pg.QueryResultRow>(url: string, sql: string): Promise<R[]> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    return (await client.query<R>(sql)).rows
  } finally {
    await client.end()
  }
}

describe('the embedded PostgreSQL', () => {
  it('finds its data again after an orderly end and after a kill -9', async () => {
    const first = await start()
    expect(first.fresh).toBe(true)
    await query(first.url, 'create table t as select 1 as n')
    await first.stop()

    const second = await start()
    expect(second.fresh).toBe(false)
    await query(second.url, 'insert into t values (2)')
    await second.kill9()

    const third = await start()
    expect(await query(third.url, 'select n from t order by n')).toEqual([{ n: 1 }, { n: 2 }])
  })

  it('takes the next free port when its own is taken', async () => {
    const taken = await listen()
    const { port } = taken.address() as { port: number }
    const server = await start({ port })
    expect(server.port).toBeGreaterThan(port)
    taken.close()
  })

  it('runs below a folder that only its owner can enter', async () => {
    chmodSync(root, 0o700)
    const first = await start()
    await query(first.url, 'create table t as select 1 as n')
    await first.stop()
    const second = await start()
    expect(await query(second.url, 'select n from t')).toEqual([{ n: 1 }])
  })

  it.skipIf(process.getuid?.() !== 0)(
    'says where it lies then, and that it was left behind when its folder was deleted',
    async () => {
      chmodSync(root, 0o700)
      const said: string[] = []
      const say = (line: string) => void said.push(line)
      const first = await start({ say })
      const [line = ''] = said.splice(0)
      expect(line).toMatch(/^the database lies in \/.*\/postgres-[0-9a-f]{12}\/cluster, since its user cannot enter /)
      const cluster = clusterFolder(dir)
      expect(line).toContain(cluster)
      await first.stop()
      rmSync(dir, { recursive: true })

      const second = await start({ say })
      expect(second.fresh).toBe(true)
      const left = join(cluster, '..')
      expect(said).toContain(
        `the database of an earlier ${dir} still lies in ${left}; unless that folder was only moved, remove it: rm -rf ${left}`,
      )
      await second.stop()
      rmSync(left, { recursive: true })
      said.length = 0
      const third = await start({ say })
      expect(third.fresh).toBe(false)
      expect(said).toHaveLength(1)
    },
  )

  it('runs from a package below such a folder, and without the links that its install script makes', async () => {
    const closed = join(root, 'closed')
    mkdirSync(closed, { mode: 0o700 })
    const packageFolder = join(closed, 'package')
    cpSync(installedPackage(), packageFolder, { recursive: true, verbatimSymlinks: true })
    const libraries = join(packageFolder, 'native', 'lib')
    const links = readdirSync(libraries).filter((name) => lstatSync(join(libraries, name)).isSymbolicLink())
    for (const name of links) rmSync(join(libraries, name))
    chmodSync(join(packageFolder, 'native', 'bin', 'postgres'), 0o644)
    const server = await start({ packageFolder })
    expect(readdirSync(libraries)).toEqual(expect.arrayContaining([...links, 'libpq.so.5', 'libicuuc.so.60']))
    expect(await query(server.url, 'select 1 as n')).toEqual([{ n: 1 }])
  })

  it('keeps its passwords to its owner', async () => {
    await start()
    expect(statSync(join(dir, 'postgres-password')).mode & 0o777).toBe(0o600)
  })

  it('has an owner that is no superuser and a login that owns nothing, again at every start', async () => {
    const server = await start()
    const urls = await ensureDatabase(server.url, root)
    expect(await ensureDatabase(server.url, root)).toEqual(urls)
    const rights = 'select rolsuper, rolbypassrls, rolcreaterole from pg_roles where rolname = current_user'
    expect(await query(urls.admin_url, rights)).toEqual([{ rolsuper: false, rolbypassrls: false, rolcreaterole: true }])
    expect(await query(urls.url, rights)).toEqual([{ rolsuper: false, rolbypassrls: false, rolcreaterole: false }])
    await query(urls.admin_url, 'create role distributor_app nologin')
    await admitLogin(server.url)
    const member = "select pg_has_role(current_user, 'distributor_app', 'member') as member"
    expect(await query(urls.url, member)).toEqual([{ member: true }])
  })
})

function listen(): Promise<Server> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => resolve(server))
  })
}
