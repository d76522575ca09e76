// Which errors mean that the database is away, and which that a setting is wrong.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { isUnavailable } from '../../db/availability.ts'
import { createPool } from '../../db/pool.ts'
import { freePort } from '../../temporal-config/stack/ports.ts'
import { type Front, startFront, type Trouble } from '../support/front.ts'
import { createTestDatabase, type TestDatabase } from '../support/postgres.ts'

let database: TestDatabase
let front: Front
let port: number

beforeAll(async () => {
  database = await createTestDatabase()
  port = await freePort(0)
  const { hostname, port: target } = new URL(database.url)
  front = await startFront(port, { host: hostname, port: Number(target) })
})
afterAll(async () => {
  await front.close()
  await database.close()
})

async function errorOf(connectionString: string): Promise<Error> {
  const pool = createPool({ connectionString, max: 1, application_name: 'availability' })
  try {
    return await pool.query('select 1').then(
      () => Promise.reject(new Error('it answered')),
      (error: Error) => error,
    )
  } finally {
    await pool.end()
  }
}

const changed = (change: (url: URL) => void) => {
  const url = new URL(database.url)
  change(url)
  return url.href
}

describe('a connection', () => {
  it.each<Trouble>([
    'refuses',
    'hangs up',
    'is silent',
    ...['57P01', '57P03', '53300', '53400', '08P01', '08006'].map((sqlstate) => ({ sqlstate })),
  ])('to one that %j finds it away', async (trouble) => {
    await front.set(trouble)
    const error = await errorOf(changed((url) => Object.assign(url, { hostname: '127.0.0.1', port: String(port) })))
    expect([error.message, isUnavailable(error)]).toEqual([error.message, true])
  })

  it.each<[string, () => string]>([
    ['a host that is not known', () => changed((url) => (url.hostname = 'database.invalid'))],
    ['a socket that is not there', () => 'postgres://user:secret@/db?host=/tmp/no-such-folder'],
  ])('to %s finds it away', async (_what, url) => {
    const error = await errorOf(url())
    expect([error.message, isUnavailable(error)]).toEqual([error.message, true])
  })

  it.each<[string, () => string, RegExp]>([
    ['the password', () => changed((url) => (url.password = 'wrong')), /password authentication failed/],
    ['no password', () => changed((url) => (url.password = '')), /password/],
    ['the login', () => changed((url) => (url.username = 'nobody')), /nobody/],
    ['the database', () => changed((url) => (url.pathname = '/nowhere')), /does not exist/],
    ['TLS where there is none', () => changed((url) => url.searchParams.set('sslmode', 'verify-full')), /SSL/],
  ])('with a wrong setting does not: %s', async (_what, url, message) => {
    const error = await errorOf(url())
    expect([isUnavailable(error), error.message]).toEqual([false, expect.stringMatching(message)])
  })
})
