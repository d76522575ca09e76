import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { knownMigrations } from '../../db/upkeep/migrate.ts'
import { createEmptyDatabase, type EmptyDatabase } from '../support/postgres.ts'

const CLI = fileURLToPath(new URL('../../temporal-config/programs/migrate.ts', import.meta.url))
let database: EmptyDatabase

beforeAll(async () => {
  database = await createEmptyDatabase()
}, 60_000)
afterAll(() => database.close())

function migrateCli(adminUrl?: string): Promise<{ code: number; stdout: string; stderr: string }> {
  const { DATABASE_ADMIN_URL: _, ...env } = process.env
  if (adminUrl) env.DATABASE_ADMIN_URL = adminUrl
  return new Promise((resolve) => {
    const child = execFile(process.execPath, ['--import', 'tsx', CLI], { env }, (_error, stdout, stderr) => {
      resolve({ code: child.exitCode ?? -1, stdout, stderr })
    })
  })
}

it('prints what it applied and exits with 0; a second run has nothing to do', async () => {
  const first = await Promise.all([migrateCli(database.adminUrl), migrateCli(database.adminUrl)])
  const lines = first.flatMap(({ stdout }) => stdout.trim().split('\n')).sort()
  expect(first.map(({ code, stderr }) => ({ code, stderr }))).toEqual([
    { code: 0, stderr: '' },
    { code: 0, stderr: '' },
  ])
  expect(lines).toEqual([
    ...knownMigrations().map((name) => `applied ${name}`),
    'the schema is now up to date',
    'the schema was up to date',
  ])
}, 60_000)

it('exits with 1 and one line when the address is missing', async () => {
  const { code, stdout, stderr } = await migrateCli()
  expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
  expect(stderr).toMatch(/^DATABASE_ADMIN_URL: [^\n]+\n$/)
})

it('exits with 1 and the reason, without the password, when the database refuses', async () => {
  const url = new URL(database.adminUrl)
  url.username = 'nobody_here'
  url.password = 'sesame'
  const { code, stderr } = await migrateCli(url.href)
  expect(code).toBe(1)
  expect(stderr).toContain('nobody_here')
  expect(stderr).not.toContain('sesame')
})
