// Waits for a service by asking it what a load balancer would ask.
import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import type { Life } from './program.ts'

/** After so long, and then after twice as long each time. */
const TELL_AFTER_MS = 5000

/** Returns once no check fails, or the program ends; says from time to time which still do. */
export async function untilReady(failing: () => Promise<string[]>, logger: Logger, life: Life): Promise<void> {
  for (let told = performance.now(), quiet = TELL_AFTER_MS; !life.ending.aborted; ) {
    const checks = await failing()
    if (checks.length === 0) return
    if (performance.now() - told > quiet) {
      told = performance.now()
      quiet *= 2
      logger.warn({ failing: checks }, 'not ready yet')
    }
    await sleep(100, undefined, { signal: life.ending }).catch(() => {})
  }
}
