// `finish`: rereads the row before a run ends, and ends the distribution if possible.
import { jobOf } from '../../db/distributions/job-id.ts'
import type { FinishInput, FinishResult } from '../../workflows/messages.ts'
import type { ActivityDeps } from '../deps.ts'
import { end } from './end.ts'

/** Null when there is no such job. */
export async function finish(deps: ActivityDeps, input: FinishInput): Promise<FinishResult | null> {
  const { round, cause } = input
  // A local activity has 2 s.
  const ended = await end(deps, jobOf(input), { round, cause }, { statementTimeoutMs: 2000 })
  if (ended.outcome === 'missing') return null
  if (ended.outcome === 'open') return { again: true, status: 'processing', webhook_id: null }
  return { again: false, status: ended.status, webhook_id: ended.webhook_id }
}
