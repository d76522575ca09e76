// `plan`: locks the job, runs the rules once and stores the chosen destinations, moves failover on, and returns the open
// deliveries.
import { setImmediate } from 'node:timers/promises'
import { endedByDeletion } from '../../db/destinations/deleted.ts'
import { moveFailoverOn } from '../../db/distributions/failover.ts'
import { jobId } from '../../db/distributions/job-id.ts'
import { insertPlan, type LockedJob, lockJob, type NewDelivery, startJob } from '../../db/distributions/plan.ts'
import { markDeliveries, markJob, openDeliveries, readJobFacts } from '../../db/distributions/rule-plans.ts'
import { readSubmitted, type SubmittedDestination } from '../../db/distributions/submitted.ts'
import { type Db, type Pool, withTenant } from '../../db/pool.ts'
import { findCandidates, recentFailures, takeTurns } from '../../db/rules/rule-lookups.ts'
import { loadRules, readRuleState } from '../../db/rules/rules.ts'
import { isFinal } from '../../db/states.ts'
import type { DistributionRef, PlanInput, RowPlan } from '../../workflows/messages.ts'
import { findProtocol, inlineTarget, PROTOCOLS } from '../destinations/registry.ts'
import { readExact } from '../rules/exact.ts'
import { explain, KEPT } from '../rules/explanation.ts'
import { type Facts, payloadFacts } from '../rules/paths.ts'
import { planByRules } from '../rules/plan.ts'
import type { RulePlan } from '../rules/planned.ts'
import { createRuleCache, type RuleCache } from '../rules/rule-cache.ts'
import { momentOf } from '../rules/time.ts'
import { storedShape } from '../shaping/stored-mapping.ts'

/**
 * Shorter than the time of a local activity. The work is one transaction, so code that runs on after a timeout does no
 * harm.
 */
const STATEMENT_TIMEOUT_MS = 2000

/** The job can never be delivered; the message says why its row is invalid. */
export class UnreadableJob extends Error {}

/** Makes the plan, or returns the existing one; null when there is no such job. Idempotent. */
export function plan(pool: Pool, ref: PlanInput, rules: RuleCache = createRuleCache()): Promise<RowPlan | null> {
  return withTenant(
    pool,
    ref.tenant_id,
    async (db) => {
      const id = jobId(ref.distribution_id)
      const job = await lockJob(db, id)
      if (!job) return null
      const answer: RowPlan = {
        final: isFinal(job.status),
        round: job.round,
        delay_ms: job.delay_ms,
        expires_in_ms: job.expires_in_ms,
        cancel_requested: job.cancel_requested,
        deliveries: [],
        ...(ref.unlabelled && { about: { data_type: job.data_type, priority: job.priority } }),
      }
      if (answer.final || job.cancel_requested) return answer
      if (job.planned) {
        const ended = await endedByDeletion(db, id)
        if (ended.length > 0) answer.ended = ended
      } else answer.expires_in_ms = await makePlan(db, ref, job, rules)
      if (job.delay_ms === 0) await startJob(db, id)
      let open = await openDeliveries(db, id)
      if (open.deliveries.some(({ standby }) => standby)) {
        await moveFailoverOn(db, id)
        open = await openDeliveries(db, id)
      }
      if (open.changed_priority) answer.priority = open.changed_priority
      // The workflow gets a standby only when the standby takes over.
      for (const { name, protocol, round, resumes, standby, has_standby } of open.deliveries) {
        if (standby) continue
        answer.deliveries.push({
          name,
          protocol,
          round,
          ...(resumes > 0 && { resumes }),
          ...(has_standby && { has_standby }),
        })
      }
      return answer
    },
    { statementTimeoutMs: STATEMENT_TIMEOUT_MS, planOnce: true },
  )
}

/** Runs the rules and stores their result; returns the milliseconds until the expiry, which a rule may have changed. */
async function makePlan(db: Db, { tenant_id }: DistributionRef, job: LockedJob, rules: RuleCache): Promise<number> {
  const read = readSubmitted(job.destinations, PROTOCOLS)
  if ('issue' in read) throw new UnreadableJob(`The destinations cannot be read: ${read.issue}`)
  const state = await readRuleState(db, tenant_id)
  const set = await rules.get(tenant_id, state, () => loadRules(db))
  const asked = set.rules.length + set.unreadable.length > 0
  const stored = asked ? await readJobFacts(db, job.id, { payload: set.payload !== null }) : null
  const facts: Facts = {
    ...(stored?.payload_bytes && set.payload
      ? await payloadFacts(stored.payload_bytes, set.payload)
      : { payload: undefined }),
    metadata: stored ? readExact(stored.metadata) : undefined,
    data_type: job.data_type,
    tenant_id,
    priority: stored?.priority ?? '',
    time: momentOf(state.now),
  }
  const submitted = read.destinations.map(({ name, protocol }) => ({ name, inline: protocol !== undefined }))
  const planned = await planByRules(set, facts, submitted, state.default_destinations, {
    destinations: (names, tags) => findCandidates(db, names, tags),
    turns: (rules) => takeTurns(db, tenant_id, rules),
    failures: (names) => recentFailures(db, tenant_id, names),
  })
  const deliveries = await deliveriesOf(planned, read.destinations)
  const expires_in_ms = await insertPlan(db, tenant_id, job.id, deliveries, planned.warnings, lifeOf(deliveries))
  await markDeliveries(db, job.id, marksOf(planned))
  if (!asked && submitted.length > 0) return expires_in_ms
  return await markJob(db, job.id, {
    priority: planned.priority?.value ?? null,
    expires_in_seconds: planned.expires_in_seconds?.value ?? null,
    explanation: explain(planned, { ...KEPT, values: !stored?.sealed }),
  })
}

/** The time that the retries of its protocols need. */
function lifeOf(deliveries: NewDelivery[]): number {
  const open = deliveries.filter(({ status }) => status === 'pending')
  return Math.max(0, ...open.map(({ protocol }) => findProtocol(protocol)?.retries?.life_seconds ?? 0))
}

async function deliveriesOf(planned: RulePlan, given: SubmittedDestination[]): Promise<NewDelivery[]> {
  const submitted = new Map(given.map((destination) => [destination.name, destination]))
  const deliveries: NewDelivery[] = []
  for (const { name, candidate, status, error_code, error_message } of planned.destinations) {
    const found = submitted.get(name)
    const inline = found?.protocol === undefined ? undefined : found
    // Reading a configuration takes some 80 µs, and there may be a thousand: the event loop is released in between.
    if (inline && deliveries.length % 50 === 49) await setImmediate()
    deliveries.push({
      destination_name: name,
      // The destination no longer exists. Its delivery has already failed, and its protocol is unknown.
      protocol: inline?.protocol ?? candidate?.protocol ?? PROTOCOLS[0]!,
      destination_id: candidate?.id ?? null,
      configuration: inline?.configuration ?? null,
      target: inline ? inlineTarget(inline.protocol, inline.configuration) : null,
      max_retries: planned.max_retries?.value ?? inline?.max_retries ?? null,
      status,
      error_code,
      error_message,
    })
  }
  return deliveries
}

function marksOf({ destinations }: RulePlan) {
  return destinations.flatMap(({ name, shape, failover_group, standby, required }) =>
    shape === null && failover_group === null
      ? []
      : [{ destination_name: name, shape: shape && storedShape(shape), failover_group, standby, required }],
  )
}
