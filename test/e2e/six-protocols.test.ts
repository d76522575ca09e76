// One distribution to a real server of each kind, by the product's own processes; then thousands of them over a network
// that fails again and again.
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { type ApiCall, apiClient } from '../support/api-client.ts'
import { type Deployment, type Running, startDeployment } from '../support/deployment.ts'
import { describeWith, INSTALL_MS } from '../support/receivers/needs.ts'
import { type Line, startToxiproxy, type Toxic, type Toxiproxy } from '../support/receivers/toxiproxy.ts'
import { aReport, contentOf, registerSix, type Site, startSix, untilFinal } from '../support/six.ts'

const describe = await describeWith('rabbitmq', 'versitygw', 'sshd', 'mailpit', 'toxiproxy')

/** Distributions of the load, each to all six. 5,000 take about a quarter of an hour on two cores. */
const LOAD = Number(process.env.LOAD_DISTRIBUTIONS ?? 32)
const LOAD_MS = 120_000 + LOAD * 600

describe('all six protocols', () => {
  let deployment: Deployment
  let worker: Running
  let sites: Site[] = []
  let database: pg.Pool
  let toxiproxy: Toxiproxy
  let call: ApiCall

  beforeAll(async () => {
    deployment = await startDeployment()
    database = new pg.Pool({ connectionString: deployment.databaseUrl, max: 2 })
    const api = await deployment.startApi()
    worker = await deployment.startWorker()
    sites = await startSix()
    toxiproxy = await startToxiproxy()
    call = apiClient(api.url, deployment.apiKey)
  }, INSTALL_MS)

  afterAll(async () => {
    await database?.end()
    await deployment?.close()
    await Promise.all([toxiproxy, ...sites].map((each) => each?.close()))
  })

  const submit = async (id: string, destinations: string[], options: Record<string, unknown> = {}) => {
    const rest = JSON.stringify({ data_type: 'aggregated_report', destinations, options })
    const body = `{"payload":${aReport(id)},${rest.slice(1)}`
    return (await call<{ distribution_id: string }>('POST', '/distribution/submit', body)).distribution_id
  }
  const names = () => sites.map(({ name }) => name)

  it('one distribution is delivered to all six destinations and has one status', async () => {
    await registerSix(call, sites, ({ port }) => port)
    const id = await submit('R-1', names())
    const state = await untilFinal(call, id)
    expect(state).toMatchObject({ status: 'completed', error_code: null })
    expect(state.destinations.map(({ name, status, attempts }) => [name, status, attempts])).toEqual(
      names().map((name) => [name, 'success', 1]),
    )
    for (const site of sites) {
      expect(
        (await site.held()).map(({ content }) => content),
        site.protocol,
      ).toEqual([contentOf(site, 'R-1')])
    }
  })

  it('a changed credential is used from the next attempt on', async () => {
    for (const { name, credential, secret } of sites) {
      const wrong = Object.entries(credential).map(([field, value]) => [
        field,
        value === secret && field !== 'private_key' ? 'wrong-secret-0815' : value,
      ])
      await call('PUT', `/credentials/${name}`, { fields: Object.fromEntries(wrong) })
    }
    const id = await submit('R-2', names())
    const refused = await untilFinal(call, id)
    expect(refused.destinations.map(({ status, error_code }) => [status, error_code])).toEqual(
      sites.map(() => ['failed', 'UNAUTHORIZED']),
    )
    for (const { name, credential } of sites) await call('PUT', `/credentials/${name}`, { fields: credential })
    await call('POST', `/distribution/${id}/retry`)
    expect(await untilFinal(call, id)).toMatchObject({ status: 'completed' })
    for (const site of sites) {
      const contents = (await site.held()).map(({ content }) => content)
      expect(contents.filter((content) => content === contentOf(site, 'R-2')).length).toBeGreaterThanOrEqual(1)
    }
  })

  it('no secret is in any row, log line, history or answer', async () => {
    const secrets = [...sites.map(({ secret }) => secret), 'wrong-secret-0815']
    const { rows } = await database.query<{ table: string }>(
      `select c.oid::regclass::text as table from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where n.nspname = 'public' and c.relkind in ('r', 'm')`,
    )
    expect(rows.length).toBeGreaterThan(20)
    for (const { table } of rows) {
      const { rows: lines } = await database.query<{ line: string }>(`select t::text as line from ${table} t`)
      for (const secret of secrets) {
        expect(lines.filter(({ line }) => line.includes(secret)).length, table).toBe(0)
      }
    }
    const told = [
      ...deployment.output(),
      await deployment.histories(),
      JSON.stringify(await call('GET', '/destinations/list')),
      JSON.stringify(await call('GET', '/credentials')),
    ].join('\n')
    expect(told).toContain('six-amqp')
    for (const secret of secrets) expect(told).not.toContain(secret)
  })

  it(
    `${LOAD} distributions over a failing network: rows and receivers agree`,
    async () => {
      const lines = new Map<Site, Line>()
      for (const site of sites) lines.set(site, await toxiproxy.line(site.name, site))
      for (const site of sites) {
        const port = lines.get(site)!.port
        // Mail would wait for minutes between its retries.
        const quick = site.protocol === 'EMAIL' ? { retry_delays_seconds: [1, 2, 4, 8, 16, 32] } : {}
        const configuration = { ...site.configuration(port), credentials: site.name, timeout_seconds: 10, ...quick }
        // An open circuit would keep the network's trouble from the deliveries, which is its purpose and not this test's.
        const circuit_breaker = { failures: 1000, open_seconds: 1 }
        await call('PUT', `/destinations/${site.name}`, { configuration, circuit_breaker })
      }
      const before = new Map<Site, number>()
      for (const site of sites) before.set(site, (await site.held()).length)

      const trouble = makeTrouble([...lines.values()])
      const ids = new Map<string, string>()
      let next = 0
      await Promise.all(
        Array.from({ length: 16 }, async () => {
          while (next < LOAD) {
            const report = `L-${next++}`
            const options = { max_retries: 12, timeout_seconds: 3600 }
            ids.set(await submit(report, names(), options), report)
          }
        }),
      )
      // In trouble until most of it is through; what is left then shall not wait for luck.
      await expect.poll(openJobs, { timeout: LOAD_MS, interval: 500 }).toBeLessThanOrEqual(LOAD / 10)
      await trouble.end()
      await expect.poll(openJobs, { timeout: LOAD_MS, interval: 500 }).toBe(0)
      expect(worker.child.exitCode).toBeNull()

      const { rows } = await database.query<DeliveryRow>(
        `select j.distribution_id, j.status as job_status, d.destination_name, d.delivery_id, d.status, d.attempts,
              d.error_code, d.error_message,
              (select count(*)::int from distribution_attempts a
                where a.distribution_job_id = d.distribution_job_id and a.destination_name = d.destination_name) as rows,
              (select count(*)::int from distribution_attempts a
                where a.distribution_job_id = d.distribution_job_id and a.destination_name = d.destination_name
                  and a.completed_at is null) as open
         from distribution_jobs j join distribution_deliveries d on d.distribution_job_id = j.id
        where j.distribution_id = any ($1)`,
        [[...ids.keys()]],
      )
      expect(rows).toHaveLength(LOAD * sites.length)
      expect(rows.filter(({ open, rows: count, attempts }) => open > 0 || count !== attempts)).toEqual([])
      const failed = rows.filter(({ status }) => status !== 'success')
      expect(failed.filter(({ status, error_code }) => status !== 'failed' || error_code === null)).toEqual([])
      const report: Record<string, unknown>[] = []
      for (const site of sites) {
        const mine = rows.filter(({ destination_name }) => destination_name === site.name)
        const known = new Map(mine.map((row) => [row.delivery_id, row]))
        const held = (await site.held()).filter(({ delivery_id }) => known.has(delivery_id))
        const all = (await site.held()).length - before.get(site)!
        // Nothing arrived that no row knows of, and everything is what was submitted.
        expect(held.length, site.protocol).toBe(all)
        for (const { delivery_id, content } of held) {
          expect(content).toBe(contentOf(site, ids.get(known.get(delivery_id)!.distribution_id)!))
        }
        const arrived = new Set(held.map(({ delivery_id }) => delivery_id))
        const lost = mine.filter(({ status, delivery_id }) => status === 'success' && !arrived.has(delivery_id))
        expect(lost, site.protocol).toEqual([])
        // One effect where the protocol can tell a repeat; elsewhere the receiver can, by the delivery id.
        if (['JDBC', 'S3', 'SFTP'].includes(site.protocol)) expect(held.length, site.protocol).toBe(arrived.size)
        report.push({
          protocol: site.protocol,
          delivered: mine.filter(({ status }) => status === 'success').length,
          failed: mine.filter(({ status }) => status === 'failed').length,
          attempts: mine.reduce((sum, { attempts }) => sum + attempts, 0),
          repeats: held.length - arrived.size,
        })
      }
      console.table([...report, { protocol: 'cuts', attempts: trouble.count() }])
      // The trouble was real: a quiet network would prove nothing.
      expect(rows.filter(({ attempts }) => attempts > 1).length).toBeGreaterThan(0)

      async function openJobs(): Promise<number> {
        const { rows: counted } = await database.query<{ count: number }>(
          `select count(*)::int as count from distribution_jobs where status in ('pending', 'processing')`,
        )
        return counted[0]!.count
      }
    },
    LOAD_MS * 2,
  )
})

interface DeliveryRow {
  distribution_id: string
  destination_name: string
  delivery_id: string
  status: string
  attempts: number
  error_code: string | null
  error_message: string | null
  rows: number
  open: number
}

/** Each line suffers from something for a moment, again and again, until the end. */
function makeTrouble(lines: Line[]): { count(): number; end(): Promise<void> } {
  const random = (below: number) => Math.floor(Math.random() * below)
  let over = false
  let count = 0
  const troubles: ((line: Line) => Promise<void>)[] = [
    (line) => line.down(),
    (line) => line.poison([toxic('reset_peer', { timeout: random(100) })]),
    (line) => line.poison([toxic('limit_data', { bytes: 1 + random(2000) })]),
    (line) => line.poison([toxic('timeout', { timeout: 0 }, 0.5)]),
    (line) => line.poison([toxic('latency', { latency: 100, jitter: 100 })]),
  ]
  const going = lines.map(async (line) => {
    while (!over) {
      await sleep(200 + random(800))
      await troubles[random(troubles.length)]!(line)
      count += 1
      await sleep(100 + random(300))
      await line.poison([])
      await line.up()
    }
  })
  return {
    count: () => count,
    async end() {
      over = true
      await Promise.all(going)
    },
  }

  function toxic(type: Toxic['type'], attributes: Record<string, number>, toxicity = 1): Toxic {
    return { type, stream: random(2) === 0 ? 'upstream' : 'downstream', toxicity, attributes }
  }
}
