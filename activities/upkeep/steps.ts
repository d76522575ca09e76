// Work in steps that have nothing to do with each other: one that fails never hides those behind it.
import type { Logger } from 'pino'
import type { Metrics } from '../metrics.ts'

export type Steps = [name: string, work: () => Promise<void>][]

/** The names of the steps that failed; each has been logged and counted by then. */
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
  for (const [step, work] of steps) {
    try {
      await work()
    } catch (error) {
      beat()
      failed.push(step)
      deps.metrics.failedSteps.inc({ job, step })
      deps.logger.error({ err: error, job, step }, `${job}: the step ${step} failed; the others go on`)
    }
    beat()
  }
  if (failed.length > 0) throw new StepsFailed(`Failed: ${failed.join(', ')}`)
}
