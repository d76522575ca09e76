// `npm run demo`: the main job, shown. Everything it starts stands in DATA_DIR/demo and on free ports, so that it runs
// beside `npm start`. With `--exit` it ends after the table, with code 0 only if all was delivered.
import { randomBytes } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import pino from 'pino'
import { isFinal } from '../../db/states.ts'
import { createLogger } from '../../temporal-config/process/log.ts'
import { type Life, runProgram } from '../../temporal-config/process/program.ts'
import type { Settings } from '../../temporal-config/process/settings.ts'
import { type Service, startService } from '../../temporal-config/programs/service.ts'
import { freePort } from '../../temporal-config/stack/ports.ts'
import { distributionWorkflowId } from '../../workflows/names.ts'
import { type Client, createClient, type DistributionState } from './client.ts'
import { type DemoReceivers, firstDestinations, PAYLOAD, REGISTERED, submission } from './example.ts'
import { type Receiver, startReceiver } from './receivers.ts'
import { arrivalRow, createProgress, table } from './show.ts'
import { prepareSix } from './six.ts'

const GIVE_UP_MS = 120_000

const print = (line = '') => console.log(line)
const seconds = (ms: number) => `${(ms / 1000).toFixed(1)} s`

await runProgram(
  'demo',
  async ({ settings, logger, life }) => {
    print('Starting the Distributor with its own PostgreSQL and Temporal')
    const service = await startService('npm run demo', {
      settings: await ownSettings(settings),
      logger,
      life,
      say: (line) => print(`  ${line}`),
    })
    print(`  ready: API ${service.url}, Temporal ${service.temporal}`)

    const signingSecret = `whsec_${randomBytes(32).toString('base64')}`
    const receivers = await startReceivers(signingSecret, service, life)
    const client = createClient(service.url, service.bootstrap_api_key!)
    await client.register(REGISTERED, 'REST', {
      endpoint: receivers.reporter.url,
      signing: { signing_secret: signingSecret },
    })

    print('\nSubmitting the example distribution: one payload, three destinations')
    print('  archive accepts at once, partner answers 503 twice, ms09-reporter checks a signature')
    const began = performance.now()
    const id = await client.submit(submission(firstDestinations(receivers), receivers.callback.url))
    print(`  ${id} accepted after ${Math.round(performance.now() - began)} ms\n`)
    const final = await watch(client, id, began, life)
    await callbackArrived(receivers, life)

    const delivered = showArrivals(final, receivers)
    const first = Math.min(...destinationsOf(receivers).flatMap(([, { arrivals }]) => arrivals.map(({ at }) => at)))
    // The clock of this process began when it was started, before the packages were looked at.
    print(
      `\nFirst delivery ${seconds(first)} after the start of the demo, ${Math.round(first - began)} ms after submission`,
    )
    const all = await toAllSix(client, receivers, life)
    if (process.argv.includes('--exit')) {
      life.end(delivered && all.complete ? 0 : 1, 'the demo is over')
      return undefined
    }
    showLinks(service, settings, all.id)
    print('\nThe stack stays up until Ctrl-C')
    return undefined
  },
  {
    flags: { '--exit': 'ends after the tables; exit code 0 only if everything was delivered' },
    logger(settings) {
      const folder = join(settings.DATA_DIR, 'demo')
      mkdirSync(folder, { recursive: true, mode: 0o711 })
      const file = join(folder, 'demo.log')
      return createLogger(settings.LOG_LEVEL, 'demo', pino.destination({ dest: file, sync: true, mode: 0o600 }))
    },
  },
)

/** The embedded stack, whatever is set for `npm start`, and receivers on loopback. */
async function ownSettings(settings: Settings): Promise<Settings> {
  return {
    ...settings,
    DATABASE_URL: undefined,
    TEMPORAL_ADDRESS: undefined,
    DATA_DIR: join(settings.DATA_DIR, 'demo'),
    API_PORT: await freePort(settings.API_PORT),
    EGRESS_ALLOW: [...settings.EGRESS_ALLOW, '127.0.0.0/8', '::1/128'],
  }
}

async function startReceivers(signingSecret: string, service: Service, life: Life): Promise<DemoReceivers> {
  const [archive, partner, reporter, everywhere, callback] = await Promise.all([
    startReceiver('/documents'),
    startReceiver('/inbox', { refuse_first: 2 }),
    startReceiver('/reports', { secret: signingSecret }),
    startReceiver('/reports'),
    startReceiver('/callbacks', { secret: service.callback_secret }),
  ])
  const receivers = { archive, partner, reporter, everywhere, callback }
  life.atEnd('the receivers', () => {
    for (const receiver of Object.values(receivers)) receiver.close()
  })
  return receivers
}

function destinationsOf({ archive, partner, reporter }: DemoReceivers): [name: string, receiver: Receiver][] {
  return [
    ['archive', archive],
    ['partner', partner],
    [REGISTERED, reporter],
  ]
}

/** The same report once more, to one real server of each kind. */
async function toAllSix(
  client: Client,
  { everywhere }: DemoReceivers,
  life: Life,
): Promise<{ id: string; complete: boolean }> {
  print('\nNow the same report to six kinds of systems; starting one of each')
  const six = await prepareSix(client, everywhere, life, (line) => print(`  ${line}`))
  for (const each of six.missing) print(`  not here: ${each}`)
  const began = performance.now()
  const id = await client.submit(submission(six.destinations))
  print(`  ${id} accepted after ${Math.round(performance.now() - began)} ms\n`)
  const final = await watch(client, id, began, life)
  const { table, complete } = await six.show(final)
  const served = final.destinations.filter(({ status }) => status === 'success').length
  print(`\nThe distribution is ${final.status}: ${served} of 6 delivered. Read back from the systems themselves:\n`)
  print(table)
  return { id, complete }
}

/** Shows each change until the distribution is final. */
async function watch(client: Client, id: string, began: number, life: Life): Promise<DistributionState> {
  const progress = createProgress(began, print)
  for (;;) {
    const state = await client.status(id)
    progress(state.destinations)
    if (isFinal(state.status) || performance.now() - began > GIVE_UP_MS) return state
    await sleep(50, undefined, { signal: life.ending })
  }
}

async function callbackArrived({ callback }: DemoReceivers, life: Life): Promise<void> {
  for (let waited = 0; callback.arrivals.length === 0 && waited < 10_000; waited += 50) {
    await sleep(50, undefined, { signal: life.ending })
  }
}

/** True when every destination got the very bytes that were submitted. */
function showArrivals(final: DistributionState, receivers: DemoReceivers): boolean {
  const payload = Buffer.from(PAYLOAD)
  const rows = destinationsOf(receivers).map(([name, receiver]) => {
    const state = final.destinations.find((destination) => destination.name === name)
    return arrivalRow(name, state?.status ?? 'unknown', receiver, payload)
  })
  print(`\nThe distribution is ${final.status}. What arrived where, read back from the receivers:\n`)
  print(table([['destination', 'status', 'receiver', 'answers', 'bytes', 'content', 'signature'], ...rows]))
  const told = receivers.callback.arrivals[0]
  print(`\n  callback: ${told ? `arrived, signature ${told.signature}` : 'did not arrive'}`)
  const identical = rows.every((row) => row[1] === 'success' && row[5] === 'identical')
  return final.status === 'completed' && identical
}

function showLinks(service: Service, settings: Settings, id: string): void {
  const workflow = encodeURIComponent(
    distributionWorkflowId({ tenant_id: settings.BOOTSTRAP_TENANT, distribution_id: id }),
  )
  print(`\n  API docs       ${service.url}/docs`)
  print(`  API key        in ${service.bootstrap_api_key_file ?? 'BOOTSTRAP_API_KEY'}`)
  print(`  Temporal UI    ${service.temporal_ui}`)
  print(`  this workflow  ${service.temporal_ui}/namespaces/${settings.TEMPORAL_NAMESPACE}/workflows/${workflow}`)
}
