// Side b, the product: the process of `npm start`, asked over HTTP, delivering to a loopback receiver.
import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type pg from 'pg'
import { Agent, request } from 'undici'
import { type Arrivals, createArrivals, runLoad } from './load.ts'
import { startReceiver } from './receiver.ts'
import type { Servers } from './servers.ts'
import { endProgram, lastLines, type Side, startProgram } from './side.ts'

const DESTINATION = 'bench-receiver'

export interface ProductOptions {
  env: NodeJS.ProcessEnv
  /** For looking at the rows, past row security. */
  database: pg.Client
  in_flight: number
  profile: string | undefined
}

export async function startProduct(servers: Servers, options: ProductOptions): Promise<Side> {
  const key = `key_${randomBytes(24).toString('base64url')}`
  const log = join(servers.folder, 'product.log')
  const child = startProgram('../../temporal-config/programs/start.ts', {
    log,
    env: {
      ...options.env,
      API_PORT: '0',
      DATABASE_URL: servers.database_url,
      TEMPORAL_ADDRESS: servers.temporal_address,
      ENCRYPTION_KEYS: `k1:${randomBytes(32).toString('base64')}`,
      BOOTSTRAP_API_KEY: key,
      EGRESS_ALLOW: '127.0.0.0/8',
    },
    ...(options.profile ? { node_options: profiling(options.profile) } : {}),
  })
  const arrivals = createArrivals()
  const strange: string[] = []
  const receiver = await startReceiver((body) => {
    const found = /^\{"report_id":"([^"]+)"/.exec(body)?.[1]
    if (found !== undefined && body === payloadOf(found)) arrivals.arrive(found)
    else strange.push(body)
  })
  const agent = new Agent({ connections: options.in_flight, pipelining: 1 })
  const ids = new Map<string, string>()
  const close = async () => {
    await endProgram(child)
    await agent.close()
    await receiver.close()
  }

  async function post(path: string, body: string): Promise<unknown> {
    const answer = await request(`${api}/api/v1${path}`, {
      method: 'POST',
      headers: { 'x-api-key': key, 'content-type': 'application/json' },
      body,
      dispatcher: agent,
    })
    const text = await answer.body.text()
    if (answer.statusCode >= 300) throw new Error(`product: ${path} was answered with ${answer.statusCode}: ${text}`)
    return JSON.parse(text)
  }

  let api = ''
  try {
    api = await readyUrl(log, () => child.exitCode !== null || child.signalCode !== null)
    const configuration = { endpoint: receiver.url }
    await post(
      '/destinations/register',
      JSON.stringify({ name: DESTINATION, protocol: 'REST', description: "The bench's receiver", configuration }),
    )
  } catch (error) {
    await close()
    throw error
  }

  return {
    pid: child.pid!,
    workflow: 'distribute',
    run: (load, prefix) =>
      runLoad(
        load,
        prefix,
        async (one) => {
          const answer = await post('/distribution/submit', submissionOf(one))
          ids.set(one, (answer as { distribution_id: string }).distribution_id)
        },
        arrivals,
      ),
    async check({ keys }) {
      if (strange.length > 0) throw new Error(`product: ${strange.length} bodies are not what was submitted`)
      return { final_ms: await checkRows(options.database, keys, ids, arrivals) }
    },
    close,
  }
}

/** Some 300 bytes, the size of a notification. */
function payloadOf(key: string): string {
  return `{"report_id":${JSON.stringify(key)},"total":1.0,"text":"${'x'.repeat(250)}"}`
}

function submissionOf(key: string): string {
  return `{"data_type":"aggregated_report","destinations":["${DESTINATION}"],"payload":${payloadOf(key)}}`
}

/** Every submission `completed`, with one successful attempt, and at the receiver exactly once. */
async function checkRows(
  database: pg.Client,
  keys: string[],
  ids: ReadonlyMap<string, string>,
  arrivals: Arrivals,
): Promise<number[]> {
  const { rows } = await database.query<{ id: string; right: boolean; as: string; final_ms: number }>(
    `select j.distribution_id as id,
            j.status = 'completed' and d.deliveries = '{success}' and a.attempts = '{success}' as right,
            concat_ws(', ', j.status, 'deliveries ' || d.deliveries::text, 'attempts ' || a.attempts::text) as as,
            extract(epoch from j.completed_at - j.created_at)::float8 * 1000 as final_ms
       from distribution_jobs j,
            lateral (select array_agg(status::text) as deliveries
                       from distribution_deliveries where distribution_job_id = j.id) d,
            lateral (select array_agg(status::text) as attempts
                       from distribution_attempts where distribution_job_id = j.id) a
      where j.id = any ($1::uuid[])`,
    [keys.map((key) => ids.get(key)!.slice('dist_'.length))],
  )
  const wrong = rows.filter((row) => row.right !== true)
  if (rows.length !== keys.length) throw new Error(`product: ${rows.length} rows for ${keys.length} submissions`)
  if (wrong.length > 0) {
    throw new Error(`product: ${wrong.length} of ${keys.length} are wrong, such as ${wrong[0]!.id}: ${wrong[0]!.as}`)
  }
  const repeated = keys.filter((key) => arrivals.count(key) !== 1)
  if (repeated.length > 0) throw new Error(`product: ${repeated.length} did not arrive exactly once: ${repeated[0]}`)
  return rows.map((row) => row.final_ms)
}

async function readyUrl(log: string, ended: () => boolean): Promise<string> {
  for (;;) {
    const lines = existsSync(log) ? readFileSync(log, 'utf8').split('\n') : []
    const ready = lines.find((line) => line.includes('"msg":"ready"'))
    if (ready) return (JSON.parse(ready) as { api: string }).api
    if (ended()) throw new Error(`the product did not start:\n${lastLines(log)}`)
    await sleep(50)
  }
}

function profiling(folder: string): string[] {
  mkdirSync(folder, { recursive: true })
  return ['--cpu-prof', `--cpu-prof-dir=${folder}`]
}
