import pg from 'pg'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { createPool } from '../../db/pool.ts'
import { ApplicationRoleError, assertApplicationRole } from '../../db/upkeep/roles.ts'
import { onEachPostgres } from '../support/postgres-versions.ts'

onEachPostgres((database) => {
  let superuser: pg.Client
  const roles: string[] = []

  beforeAll(async () => {
    superuser = new pg.Client({ connectionString: database().superuserUrl })
    await superuser.connect()
  })
  afterAll(async () => {
    for (const role of roles.reverse()) await superuser.query(`drop owned by ${role}; drop role ${role}`)
    await superuser.end()
  })

  /** A role of this database's own; roles belong to the server, which other tests share. */
  async function aRole(kind: string, attributes: string, ...grants: string[]): Promise<string> {
    const name = `${kind}_${database().name}`
    await superuser.query(`create role ${name} ${attributes} password 'test'`)
    roles.push(name)
    for (const group of grants) await superuser.query(`grant ${group} to ${name}`)
    return name
  }

  async function refusal(login: string): Promise<string[]> {
    const url = new URL(database().url)
    url.username = login
    const pool = createPool({ connectionString: url.href, max: 1, application_name: 'test' })
    try {
      await assertApplicationRole(pool)
      return []
    } catch (error) {
      if (!(error instanceof ApplicationRoleError)) throw error
      return error.lines
    } finally {
      await pool.end()
    }
  }

  it('takes a login that owns nothing and is bound by row security', async () => {
    expect(await refusal('test_login')).toEqual([])
  })

  it('refuses a superuser', async () => {
    const login = await aRole('super', 'login superuser')
    expect(await refusal(login)).toEqual([
      `DATABASE_URL: ${login} is a superuser, to which row security does not apply`,
    ])
  })

  it('refuses a login that bypasses row security', async () => {
    const login = await aRole('bypass', 'login bypassrls', 'distributor_app')
    expect(await refusal(login)).toEqual([`DATABASE_URL: ${login} bypasses row security`])
  })

  it('refuses the owner of the tables', async () => {
    const lines = await refusal('test_owner')
    expect(lines.join('\n')).toMatch(/test_owner owns api_keys, /)
  })

  it('refuses a member of distributor_system, and of the owner, also through another role', async () => {
    const group = await aRole('system_group', 'nologin', 'distributor_system')
    const login = await aRole('system', 'login noinherit', 'distributor_app', group)
    const lines = (await refusal(login)).join('\n')
    expect(lines).toContain(`${login} is a member of distributor_system`)
    const heir = await aRole('heir', 'login noinherit', 'distributor_app', 'test_owner')
    expect((await refusal(heir)).join('\n')).toMatch(new RegExp(`${heir} owns api_keys`))
  })

  it('refuses a login that was not granted access', async () => {
    const login = await aRole('stranger', 'login')
    expect(await refusal(login)).toEqual([
      `DATABASE_URL: ${login} must be a member of distributor_app, which holds the grants`,
    ])
  })
})
