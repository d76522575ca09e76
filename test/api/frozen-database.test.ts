// A database whose connections stay open and that answers nothing: every route says so within some seconds, and all goes
// well as soon as it answers again.
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { withTenant } from '../../db/pool.ts'
import { freeze } from '../support/freeze.ts'
import { startTestServer, type TestServer } from '../support/postgres.ts'
import { startProxy, type TcpProxy } from '../support/proxy.ts'
import { type ApiUnderTest, aSubmission, startApi } from './api-under-test.ts'

let server: TestServer
let proxy: TcpProxy
let api: ApiUnderTest
let thaw = () => {}

beforeAll(async () => {
  server = await startTestServer()
  const { hostname, port } = new URL(server.url)
  proxy = await startProxy({ host: hostname, port: Number(port) })
  api = await startApi({
    server,
    databaseUrl(given) {
      const url = new URL(given)
      url.hostname = '127.0.0.1'
      url.port = String(proxy.port)
      return url.href
    },
  })
})
afterEach(() => {
  thaw()
  proxy.mend()
})
afterAll(async () => {
  await api?.close()
  await proxy?.close()
  await server?.stop()
})

const AWAY = { error: 'SERVICE_UNAVAILABLE', message: 'the database does not answer; try again' }

/** Every route that reads or writes; what they ask for need not exist. */
async function routes(): Promise<[method: string, path: string][]> {
  const { body } = await api.request('/openapi.json')
  return Object.entries<Record<string, unknown>>(body.paths)
    .filter(([path]) => path.startsWith('/api/v1'))
    .flatMap(([path, methods]) =>
      Object.keys(methods).map((method): [string, string] => [
        method.toUpperCase(),
        path.replace('/api/v1', '').replace(/\{[^}]*\}/g, crypto.randomUUID()),
      ]),
    )
}

describe('a frozen database', () => {
  it('is a 503 with Retry-After on every route within some seconds; requests are served again as soon as it continues', async () => {
    const all = await routes()
    expect(all.length).toBeGreaterThan(30)
    // Known for a moment, so that not only the look-up of the key is asked.
    await api.call('GET', '/distribution/list')
    thaw = freeze(server.pid)
    const began = performance.now()
    const answers = await Promise.all(
      all.map(async ([method, path]) => {
        const body = method === 'GET' || method === 'DELETE' ? undefined : aSubmission()
        const key = path.startsWith('/tenants') ? api.keys.acme.platform : api.keys.acme.admin
        return { method, path, ...(await api.call(method, path, body, { key })) }
      }),
    )
    expect(performance.now() - began).toBeLessThan(20_000)
    for (const { method, path, status, headers, body } of answers) {
      expect({ method, path, status }).toEqual({ method, path, status: 503 })
      expect(body).toMatchObject(AWAY)
      expect(headers.get('retry-after')).toBe('5')
    }
    const lines = api.log.lines().map((line) => JSON.parse(line))
    const request_id = answers[0]!.body.request_id
    expect(lines.filter((line) => line.request_id === request_id)).toMatchObject([
      { level: 'warn', msg: 'request', status: 503, error: 'SERVICE_UNAVAILABLE', reason: expect.any(String) },
    ])
    expect(lines.filter(({ status, level, err }) => status === 503 && (level !== 'warn' || err))).toEqual([])
    expect(lines.filter(({ msg }) => msg === 'request failed')).toEqual([])
    expect((await api.request('/health/live')).status).toBe(200)
    const { status, body } = await api.request('/health/ready')
    expect([status, body.failing]).toEqual([503, ['database', 'partitions']])
    thaw()
    expect((await api.call('GET', '/distribution/list')).status).toBe(200)
    expect((await api.request('/health/ready')).status).toBe(200)
  }, 60_000)

  it.each(['at its begin', 'in mid-statement'])(
    'fails a request that is under way, %s',
    async (when) => {
      await api.call('GET', '/distribution/list')
      const waiting = withTenant(api.pool, 'acme', async (db) => {
        if (when === 'at its begin') thaw = freeze(server.pid)
        else setTimeout(() => (thaw = freeze(server.pid)), 300)
        await db.query('select pg_sleep(1)')
      })
      await expect(waiting).rejects.toMatchObject({ code: 'DATABASE_UNAVAILABLE' })
      thaw()
      expect((await api.call('GET', '/distribution/list')).status).toBe(200)
    },
    30_000,
  )

  it('a slow statement continues while the database answers', async () => {
    const slow = await withTenant(api.pool, 'acme', (db) => db.query('select pg_sleep(9)'))
    expect(slow.rowCount).toBe(1)
  }, 30_000)

  it('a statement that takes longer than it may is ended by the server, and is a 503', async () => {
    const late = withTenant(api.pool, 'acme', (db) => db.query('select pg_sleep(9)'), { statementTimeoutMs: 200 })
    await expect(late).rejects.toMatchObject({ code: '57014' })
  })
})

describe('a submission whose commit is not answered', () => {
  it('is a 503, and a repeat with its key creates no second distribution', async () => {
    const body = aSubmission({ options: { idempotency_key: `lost-${crypto.randomUUID()}` } })
    // The key is looked up without a transaction: the first commit is the submission's own.
    proxy.silenceAnswersTo(/^Q\0\0\0.commit\0$/)
    const first = await api.call('POST', '/distribution/submit', body)
    proxy.mend()
    expect([first.status, first.body.error]).toEqual([503, 'SERVICE_UNAVAILABLE'])
    const made = await api.rows<{ distribution_id: string }>('acme', 'select distribution_id from distribution_jobs')
    expect(made).toHaveLength(1)
    const second = await api.call('POST', '/distribution/submit', body)
    expect([second.status, second.body.distribution_id]).toEqual([202, made[0]!.distribution_id])
    expect(await api.rows('acme', 'select from distribution_jobs')).toHaveLength(1)
  }, 60_000)
})
