// Corrects the process's clock by the database's clock: measured before anything else, and again from time to time.
import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import { aheadMs, clockWarning, setClock } from '../../db/clock.ts'
import { databaseTime } from '../../db/health.ts'
import type { Pool } from '../../db/pool.ts'

const EVERY_MS = 30_000
/** An answer within this time is exact enough. */
const QUICK_MS = 10
const QUESTIONS = 5

/**
 * Reads the database's time, several times unless an answer is quick, and uses the quickest answer. An answer may be
 * wrong by half of its duration, and the first one may wait for a connection or for a process that is busy with its
 * start.
 */
export async function measureClock(pool: Pool, jumped?: () => void): Promise<void> {
  let best: { time: number; at: number; took: number } | undefined
  for (let asked = 0; asked < QUESTIONS && !(best && best.took <= QUICK_MS); asked += 1) {
    const began = performance.now()
    try {
      const time = await databaseTime(pool)
      const took = performance.now() - began
      if (!best || took < best.took) best = { time, at: began + took / 2, took }
    } catch (error) {
      if (!best) throw error
      break
    }
  }
  if (best) setClock(best.time, best.at, jumped)
}

/**
 * Measures until `signal` aborts. Logs when this machine's clock is far from the database's, and when it no longer is.
 */
export async function keepClock(pool: Pool, logger: Logger, signal: AbortSignal): Promise<void> {
  let warned: number | undefined
  let measureNow = () => {}
  const jumped = () => measureNow()
  const say = () => {
    const far = clockWarning() !== undefined
    const seconds = Math.round(aheadMs() / 1000)
    if (far && (warned === undefined || Math.abs(seconds - warned) > 5)) {
      logger.warn({ clock_ahead_seconds: seconds }, clockWarning())
      warned = seconds
    } else if (!far && warned !== undefined) {
      logger.info('the clock of this machine agrees with that of the database again')
      warned = undefined
    }
  }
  while (!signal.aborted) {
    await measureClock(pool, jumped).then(say, () => {})
    const early = new AbortController()
    measureNow = () => early.abort()
    await sleep(EVERY_MS, undefined, { signal: AbortSignal.any([signal, early.signal]), ref: false }).catch(() => {})
    // At most one measurement per interval, however often the clock jumps.
    await sleep(1000, undefined, { signal, ref: false }).catch(() => {})
  }
}
