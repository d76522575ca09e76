// `npm run bench`: the bare engine (a) and the product (b) by turns, on the same servers. What comes of it is a ratio;
// see README.md beside this file.
import { writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client, Connection } from '@temporalio/client'
import type pg from 'pg'
import { describeSettings } from '../../temporal-config/process/settings.ts'
import { startCheck } from './check/run.ts'
import { startEngine } from './engine.ts'
import type { Load } from './load.ts'
import { type BenchOptions, readOptions, USAGE, UsageError } from './options.ts'
import { startProduct } from './product.ts'
import { historyEvents, type Measured, type MeasuringDeps, measure } from './rounds.ts'
import { connectSuperuser, startServers } from './servers.ts'
import type { Side } from './side.ts'
import { type Comparison, comparisonTable, shown } from './statistics.ts'

type Sides = Record<'engine' | 'product', Side>
type Round = Record<Load['kind'], Record<keyof Sides, Measured>>

const KINDS = ['unloaded', 'saturated'] as const
const WARM_UP_SECONDS = 3

const began = performance.now()
const say = (line: string) =>
  process.stderr.write(`${((performance.now() - began) / 1000).toFixed(1).padStart(6)} s  ${line}\n`)

/** What is ended when the run is over, last things first. */
const closing: (() => Promise<unknown>)[] = []
let closed: Promise<void> | undefined

function closeAll(): Promise<void> {
  closed ??= (async () => {
    for (const close of closing.reverse()) {
      await close().catch((error: unknown) => say(`could not be closed: ${(error as Error).message}`))
    }
  })()
  return closed
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => void closeAll().then(() => process.exit(130)))
}
await main(process.argv.slice(2))

async function main(args: string[]): Promise<void> {
  if (args.includes('--help')) return console.log(USAGE)
  try {
    const options = readOptions(args)
    if (options.check) await check()
    else await bench(options)
  } catch (error) {
    // What breaks because the end was asked for is no failure.
    if (closed) return
    console.error((error as Error).message)
    if (error instanceof UsageError) console.error(`\n${USAGE}`)
    process.exitCode = 1
  } finally {
    await closeAll()
  }
  // What still waits for an arrival, after a failure, waits in vain.
  process.exit()
}

async function check(): Promise<void> {
  const { ended, stop } = startCheck()
  closing.push(stop)
  process.exitCode = await ended
}

async function bench(options: BenchOptions): Promise<void> {
  const servers = await startServers(options.server, process.env.DATA_DIR ?? '.data', say)
  closing.push(servers.close)
  const database = await connectSuperuser(servers)
  closing.push(() => database.end())
  const connection = await Connection.connect({ address: servers.temporal_address })
  closing.push(() => connection.close())
  const client = new Client({ connection })

  const env = ownEnvironment()
  const engine = await startEngine(servers, env)
  closing.push(engine.close)
  const product = await startProduct(servers, { ...options, env, database })
  closing.push(product.close)
  const sides: Sides = { engine, product }
  say('both sides are up')

  const deps: MeasuringDeps = {
    client,
    processes: { ...servers.processes, engine: engine.pid, product: product.pid, bench: process.pid },
  }
  await warmUp(deps, sides, options)
  const transactionsBefore = await transactions(database)
  const rounds: Round[] = []
  for (let round = 1; round <= options.rounds; round++) {
    rounds.push(await runRound(deps, sides, options, `r${round}`))
    say(`round ${round} of ${options.rounds}: ${summary(rounds.at(-1)!)}`)
  }
  // The server counts a connection's transactions with a delay of a second.
  await sleep(1500)
  const distributions = rounds.reduce(
    (sum, one) => sum + one.unloaded.product.submitted + one.saturated.product.submitted,
    0,
  )
  const result = {
    machine: await machine(client, database, options),
    options,
    costs: {
      events_per_run: {
        engine: await historyEvents(client, engine.workflow),
        product: await historyEvents(client, product.workflow),
      },
      transactions_per_distribution: ((await transactions(database)) - transactionsBefore) / distributions,
    },
    rounds,
  }
  if (options.json) writeFileSync(options.json, `${JSON.stringify(result, undefined, 2)}\n`)
  print(result)
}

async function warmUp(deps: MeasuringDeps, sides: Sides, options: BenchOptions): Promise<void> {
  for (const side of Object.values(sides)) {
    const load = { ...options, kind: 'saturated' as const, seconds: WARM_UP_SECONDS, count: undefined }
    await measure(deps, side, load, 'warm-up')
  }
  say('both sides are warm')
}

async function runRound(deps: MeasuringDeps, sides: Sides, options: BenchOptions, prefix: string): Promise<Round> {
  const round = {} as Round
  for (const kind of KINDS) {
    const load = { ...options, kind }
    const engine = await measure(deps, sides.engine, load, `${prefix}-${kind}`)
    round[kind] = { engine, product: await measure(deps, sides.product, load, `${prefix}-${kind}`) }
  }
  return round
}

function summary({ unloaded, saturated }: Round): string {
  const both = (of: (measured: Measured) => number, pair: Round['unloaded']) =>
    `${shown(of(pair.engine))} against ${shown(of(pair.product))}`
  return `p50 ms ${both((one) => one.p50_ms, unloaded)}, per second ${both((one) => one.per_second, saturated)}`
}

interface Result {
  machine: Record<string, string | number>
  options: BenchOptions
  costs: { events_per_run: Record<keyof Sides, number>; transactions_per_distribution: number }
  rounds: Round[]
}

function print({ machine, options, costs, rounds }: Result): void {
  const amount = options.count === undefined ? `${options.seconds} s` : `${options.count} submissions`
  console.log(
    [
      '',
      `${rounds.length} rounds of ${amount} per measurement; ` +
        `unloaded: ${options.rate} per second, saturated: ${options.in_flight} in flight`,
      Object.entries(machine)
        .map(([name, value]) => `${name} ${value}`)
        .join(', '),
      '',
      comparisonTable(comparisons(rounds)),
      '',
      `events per run: engine ${shown(costs.events_per_run.engine)}, product ${shown(costs.events_per_run.product)}`,
      `database transactions per distribution: ${shown(costs.transactions_per_distribution)}`,
      'every distribution completed, with one attempt, and arrived exactly once',
    ].join('\n'),
  )
}

/** Ratios above 1 are more: for milliseconds that is slower, per second it is faster. */
function comparisons(rounds: Round[]): Comparison[] {
  const line = (load: Load['kind'], measure: string, of: (one: Measured) => number): Comparison => ({
    load,
    measure,
    engine: rounds.map((round) => of(round[load].engine)),
    product: rounds.map((round) => of(round[load].product)),
  })
  return KINDS.flatMap((kind) => [
    line(kind, 'per second', (one) => one.per_second),
    line(kind, 'p50 ms', (one) => one.p50_ms),
    line(kind, 'p95 ms', (one) => one.p95_ms),
    ...(rounds[0]![kind].engine.processor_ms
      ? [line(kind, 'processor ms each', (one) => Object.values(one.processor_ms!).reduce((sum, ms) => sum + ms, 0))]
      : []),
  ])
}

async function transactions(database: pg.Client): Promise<number> {
  const { rows } = await database.query<{ commits: string }>(
    'select xact_commit as commits from pg_stat_database where datname = current_database()',
  )
  return Number(rows[0]!.commits)
}

async function machine(client: Client, database: pg.Client, options: BenchOptions) {
  const { rows } = await database.query<{ server_version: string }>('show server_version')
  const { serverVersion } = await client.workflowService.getSystemInfo({})
  return {
    cores: availableParallelism(),
    node: process.versions.node,
    temporal: `${serverVersion} on ${options.server === 'dev' ? 'SQLite' : 'PostgreSQL'}`,
    postgresql: rows[0]!.server_version,
  }
}

/** This process's environment without any setting of the product: what is measured does not depend on them. */
function ownEnvironment(): NodeJS.ProcessEnv {
  const settings = new Set(describeSettings().map(({ name }) => name))
  return Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !settings.has(name) && !name.startsWith('TEMPORAL_')),
  )
}
