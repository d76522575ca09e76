// Types and functions that all parts of a batch step use.
import type { Ended, EndRequest } from '../../db/distributions/end.ts'
import type { Db } from '../../db/pool.ts'
import type { Runs } from '../../workflows/client.ts'
import type { BatchRef } from '../../workflows/messages.ts'
import type { ActivityDeps } from '../deps.ts'
import { endWithoutRun } from '../distribution/end.ts'

/** The most distributions that one step starts. */
export const PAGE = 100
/** Calls to Temporal, or transactions, at once. */
export const AT_ONCE = 10
export const LONGEST_WAIT_MS = 30_000

export interface Step {
  deps: ActivityDeps
  runs: Runs
  ref: BatchRef
  /** Between units of work: a heartbeat, which throws when the worker stops. */
  beat: () => void
  as<T>(work: (db: Db) => Promise<T>): Promise<T>
  /** How often Temporal has tried this step; the first try is 1. */
  attempt: number
}

export type Begun = 'more' | 'all' | { wait_ms: number }

/** Ends a distribution of the batch that has no run. */
export function endByRow({ deps, runs, ref }: Step, id: string, request: EndRequest): Promise<Ended> {
  return endWithoutRun(deps, runs, { tenant_id: ref.tenant_id, id }, request)
}

/** Runs `work` on each item, a few at once. */
export async function inChunks<T>(items: T[], beat: () => void, work: (item: T) => Promise<void>): Promise<void> {
  for (let from = 0; from < items.length; from += AT_ONCE) {
    beat()
    await Promise.all(items.slice(from, from + AT_ONCE).map(work))
  }
}

export function waitFor(ms: number): number {
  return Math.round(Math.min(LONGEST_WAIT_MS, Math.max(200, ms)))
}
