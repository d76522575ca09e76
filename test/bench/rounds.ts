// One measurement of one side, and the numbers that come of it.
import { setTimeout as sleep } from 'node:timers/promises'
import type { Client } from '@temporalio/client'
import type { Load } from './load.ts'
import { type ProcessorTime, processorTime, type Roots, used } from './processor-time.ts'
import type { Side } from './side.ts'
import { percentile } from './statistics.ts'

export interface Measured {
  submitted: number
  /** From the first submission until Temporal shows every run as completed. */
  elapsed_ms: number
  per_second: number
  p50_ms: number
  p95_ms: number
  /** From the last arrival on: what had piled up behind the arrivals. */
  drain_ms: number
  /** Processor time per submission, by process; absent where the system does not tell. */
  processor_ms?: ProcessorTime
  /** From the row's creation to its final state, on the database's clock. */
  final_p50_ms?: number
  final_p95_ms?: number
}

export interface MeasuringDeps {
  client: Client
  /** Whose processor time is counted. */
  processes: Roots
}

const GIVE_UP_MS = 120_000

/** Runs `load` on `side`, waits until all of it is over, and checks it. Throws when something is wrong. */
export async function measure(deps: MeasuringDeps, side: Side, load: Load, prefix: string): Promise<Measured> {
  const closedBefore = await completed(deps.client, side.workflow)
  const timeBefore = processorTime(deps.processes)
  const result = await side.run(load, prefix)
  const submitted = result.keys.length
  await untilCompleted(deps.client, side.workflow, closedBefore + submitted)
  const over = Date.now()
  const timeAfter = processorTime(deps.processes)
  const { final_ms } = await side.check(result)
  const elapsed_ms = over - result.began_at
  return {
    submitted,
    elapsed_ms,
    per_second: (submitted * 1000) / elapsed_ms,
    p50_ms: percentile(result.latencies_ms, 0.5),
    p95_ms: percentile(result.latencies_ms, 0.95),
    drain_ms: over - result.last_arrival_at,
    ...(timeBefore && timeAfter ? { processor_ms: each(used(timeBefore, timeAfter), submitted) } : {}),
    ...(final_ms ? { final_p50_ms: percentile(final_ms, 0.5), final_p95_ms: percentile(final_ms, 0.95) } : {}),
  }
}

/** Events in the history of a completed run, of some hundred the mean. */
export async function historyEvents(client: Client, workflow: string): Promise<number> {
  let events = 0
  let runs = 0
  for await (const run of client.workflow.list({ query: queryFor(workflow), pageSize: 100 })) {
    events += run.historyLength
    if (++runs === 100) break
  }
  return events / runs
}

const queryFor = (workflow: string) => `WorkflowType = '${workflow}' and ExecutionStatus = 'Completed'`

async function completed(client: Client, workflow: string): Promise<number> {
  return (await client.workflow.count(queryFor(workflow))).count
}

async function untilCompleted(client: Client, workflow: string, expected: number): Promise<void> {
  const until = performance.now() + GIVE_UP_MS
  for (let count = 0; count < expected; ) {
    count = await completed(client, workflow)
    if (performance.now() > until) throw new Error(`${count} runs of ${workflow} completed, not ${expected}`)
    await sleep(25)
  }
}

function each(sums: ProcessorTime, count: number): ProcessorTime {
  return Object.fromEntries(Object.entries(sums).map(([kind, ms]) => [kind, ms / count]))
}
