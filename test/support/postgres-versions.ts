// The same tests on the oldest and on the newest PostgreSQL that is supported.
import { afterAll, beforeAll, describe } from 'vitest'
import { createTestDatabase, startTestServer, type TestDatabase, type TestServer } from './postgres.ts'
import { postgres15Programs, startPostgres15 } from './postgres-15.ts'
import { sharedServer } from './shared-servers.ts'

const SERVERS = [
  // Missing where it must not be, it fails at start, by name; elsewhere its tests are skipped.
  { version: 15, start: startPostgres15, here: postgres15Programs() !== undefined || Boolean(process.env.CI) },
  { version: 18, start: startTestServer, here: true },
]

/** `define` once per version, each with a server of its own, on which nothing was done yet. */
export function onEachFreshServer(define: (server: () => TestServer, version: number) => void): void {
  for (const { version, start, here } of SERVERS) {
    describe.skipIf(!here)(`on PostgreSQL ${version}`, () => {
      let server: TestServer | undefined
      beforeAll(async () => {
        server = await start()
      }, 60_000)
      afterAll(() => server?.stop())
      // In a suite of their own: a hook of theirs that fails must not leave the server running.
      describe('a fresh server', () => define(() => server!, version))
    })
  }
}

/** `define` once per version, each with a migrated database on a server that the files of the run share. */
export function onEachPostgres(define: (database: () => TestDatabase, version: number) => void): void {
  for (const { version, here } of SERVERS) {
    describe.skipIf(!here)(`on PostgreSQL ${version}`, () => {
      let database: TestDatabase | undefined
      beforeAll(async () => {
        database = await createTestDatabase(version === 15 ? { server: await sharedServer('postgres-15') } : {})
      }, 60_000)
      afterAll(async () => {
        await database?.close()
      })
      // In a suite of their own: a hook of theirs that fails must not leave the server running.
      describe('a migrated database', () => define(() => database!, version))
    })
  }
}
