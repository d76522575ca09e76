// Waits for a service with the same checks as a load balancer.
import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import type { Life } from './program.ts'

/** When to print the first message; the time doubles after each message. */
const TELL_AFTER_MS = 5000

/** Returns when no check fails, or the program ends. Prints from time to time which checks still fail. */
export async function untilReady(failing: () => Promise<string[]>, logger: Logger, life: Life): Promise<void> {
  for (let warnedAt = performance.now(), quiet = TELL_AFTER_MS; !life.ending.aborted; ) {
    const checks = await failing()
    if (checks.length === 0) return
    if (performance.now() - warnedAt > quiet) {
      warnedAt = performance.now()
      quiet *= 2
      logger.warn({ failing: checks }, 'not ready yet')
    }
    await sleep(100, undefined, { signal: life.ending }).catch(() => {})
  }
}
