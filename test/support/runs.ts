import type { Runs } from '../../workflows/client.ts'

const unexpected = async () => {
  throw new Error('not expected')
}

/** Runs that a test does not expect to be asked anything; it puts its own methods over these. */
export const NOT_EXPECTED: Runs = {
  searchAttributes: () => new Set(),
  start: unexpected,
  startAgain: unexpected,
  signalCancel: unexpected,
  signalReread: unexpected,
  signalRetry: unexpected,
  signalTurn: unexpected,
  resume: unexpected,
  describe: unexpected,
  terminated: async () => [],
  startWebhook: unexpected,
  startBatch: unexpected,
  setSchedule: unexpected,
  describeSchedule: unexpected,
  healthCheck: unexpected,
  probe: unexpected,
}
