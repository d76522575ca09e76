// `command`: a cancel or retry that was sent to the run itself, from Temporal's UI, CLI or SDK. It changes the same rows as
// the API's request, with `temporal` as the actor in the audit log.
import { z } from 'zod'
import { MAX_TIMEOUT_SECONDS, requestCancel, requestRetry } from '../../db/distributions/commands.ts'
import { jobId } from '../../db/distributions/job-id.ts'
import { cancelRefusal, retryRefusal } from '../../db/distributions/refusals.ts'
import { type Db, type Pool, withTenant } from '../../db/pool.ts'
import { isRowAtFault, refusalText } from '../../db/refused.ts'
import { writeAudit } from '../../db/tenants/audit.ts'
import type { CommandAnswer, CommandInput } from '../../workflows/messages.ts'

const cancelRequest = z.strictObject({ reason: z.string().max(500).nullish() })
const retryRequest = z.strictObject({
  destinations: z.array(z.string().max(100)).min(1).max(1000).optional(),
  force: z.boolean().default(false),
  timeout_seconds: z.int().min(1).max(MAX_TIMEOUT_SECONDS).optional(),
})

/** The command cannot be applied; the message says why. */
export class CommandRefused extends Error {}

/**
 * Applies the command. A repeated call, with the round that the run knew at the first one, changes nothing more.
 * @throws CommandRefused
 */
export async function command(pool: Pool, input: CommandInput): Promise<CommandAnswer> {
  const given = input.request ?? {}
  try {
    return await withTenant(
      pool,
      input.tenant_id,
      (db) => (input.command === 'cancel' ? cancel(db, input, given) : retry(db, input, given)),
      { statementTimeoutMs: 2000, planOnce: true },
    )
  } catch (error) {
    // A text that PostgreSQL cannot store, such as NUL. A retry would fail for ever, and hold up the whole run.
    if (isRowAtFault(error)) throw new CommandRefused(`the argument is invalid: ${refusalText(error)}`)
    throw error
  }
}

async function cancel(db: Db, input: CommandInput, given: object): Promise<CommandAnswer> {
  const { reason = null } = read(cancelRequest, given)
  const id = jobId(input.distribution_id)
  const asked = await requestCancel(db, id, reason)
  const refusal = cancelRefusal(asked)
  if (refusal) throw new CommandRefused(refusal)
  if (asked.outcome === 'requested') await audit(db, input, reason ? { reason } : {})
  return { accepted: true }
}

async function retry(db: Db, input: CommandInput, given: object): Promise<CommandAnswer> {
  const request = read(retryRequest, given)
  const outcome = await requestRetry(db, jobId(input.distribution_id), { ...request, up_to_round: input.round })
  // A retry in a later round than the run knew: this call is a repeat, or another request was faster.
  if (outcome.outcome === 'nothing' && outcome.round > input.round && outcome.unknown.length === 0) {
    return { accepted: true, round: outcome.round }
  }
  const refusal = retryRefusal(outcome)
  if (refusal) throw new CommandRefused(refusal)
  const { round, destinations } = outcome as Extract<typeof outcome, { outcome: 'reset' }>
  await audit(db, input, { round, force: request.force })
  return { accepted: true, round, destinations }
}

function read<T>(schema: z.ZodType<T>, given: object): T {
  const { data, error } = schema.safeParse(given)
  if (!error) return data
  const issues = error.issues.map(({ path, message }) => (path.length > 0 ? `${path.join('.')}: ${message}` : message))
  throw new CommandRefused(`the argument is invalid: ${issues.join('; ')}`)
}

async function audit(db: Db, { tenant_id, distribution_id, command }: CommandInput, details: Record<string, unknown>) {
  await writeAudit(db, {
    ...{ tenant_id, actor: 'temporal', action: command },
    ...{ resource_type: 'distribution_job', resource_id: jobId(distribution_id), details },
  })
}
