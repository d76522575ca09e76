// Runs independent steps: a step that fails does not keep the later ones from running.
import type { Logger } from 'pino'
import type { Metrics } from '../metrics.ts'

export type Steps = [name: string, work: () => Promise<void>][]

/** Thrown with the names of the failed steps; each failure has already been logged and counted. */
export class StepsFailed extends Error {}

/**
 * Runs every step, in order. `beat` is called after each, also after one that failed, and ends the work when it throws.
 * @throws StepsFailed after the last one, when any failed
 */
export async function runSteps(
  deps: { logger: Logger; metrics: Pick<Metrics, 'failedSteps'> },
  job: 'maintain' | 'sweep',
  steps: Steps,
  beat: () => void,
): Promise<void> {
  const failed: string[] = []
  // `increase()` does not see the first failure of a series that begins with it.
  for (const [step] of steps) deps.metrics.failedSteps.inc({ job, step }, 0)
  for (const [step, work] of steps) {
    try {
      await work()
    } catch (error) {
      beat()
      failed.push(step)
      deps.metrics.failedSteps.inc({ job, step })
      deps.logger.error({ err: error, job, step }, `${job}: the step ${step} failed; the other steps still run`)
    }
    beat()
  }
  if (failed.length > 0) throw new StepsFailed(`Failed: ${failed.join(', ')}`)
}
