// Evaluates the rules with a sample.
import { wantedParts } from '../../activities/document/tree.ts'
import { type Exact, exactText, readExact } from '../../activities/rules/exact.ts'
import { explain, SHOWN } from '../../activities/rules/explanation.ts'
import { payloadFacts } from '../../activities/rules/paths.ts'
import { planByRules } from '../../activities/rules/plan.ts'
import { type RuleSet, readRule, setOf } from '../../activities/rules/rule.ts'
import { momentOf } from '../../activities/rules/time.ts'
import type { Db } from '../../db/pool.ts'
import { findCandidates, peekTurns, recentFailures } from '../../db/rules/rule-lookups.ts'
import { loadRules, readRuleState } from '../../db/rules/rules.ts'
import { knownDestinations } from '../destinations/known.ts'
import { endpoint, type RequestBody } from '../http/endpoint.ts'
import { type Detail, invalid } from '../http/errors.ts'
import { fieldPath } from '../http/json.ts'
import { checkRule, shapeIssues } from '../rules/rule-check.ts'
import { type Draft, evaluation, sample } from '../schemas/rules.ts'
import { checkNames } from '../submission/destination-entries.ts'

export const evaluate = endpoint({
  method: 'post',
  path: '/rules/evaluate',
  operation: 'evaluateRules',
  tag: 'Rules',
  summary: 'Evaluate the rules with a sample',
  description:
    'Shows which rules match, which condition failed on which value, and the resulting plan. Nothing is stored or sent, and the state of load balancing does not change.',
  role: 'operator',
  body: sample,
  max_body_bytes: Number.POSITIVE_INFINITY,
  answers: { 200: { description: 'The result for each rule, and the plan', schema: evaluation } },
}).handle(async ({ deps, caller: { tenant_id }, transaction, body, raw }) => {
  const found = body.rule ? await shapeIssues(deps.shaper, tenant_id, body.rule.actions, ['rule']) : []
  const { evaluated_at, planned } = await transaction(async (db) => {
    const state = await readRuleState(db, tenant_id)
    const kept = await deps.rules.get(tenant_id, state, () => loadRules(db))
    const set = body.rule ? await withDraft(db, kept, body.rule, found, raw) : kept
    const payload = raw.texts.bytes('payload')
    const metadata = raw.texts.get('metadata')
    const evaluated_at = body.at ? new Date(body.at) : state.now
    const facts = {
      ...(payload !== undefined && set.payload ? await payloadFacts(payload, set.payload) : { payload: undefined }),
      metadata: readExact(body.metadata ? (metadata ?? '{}') : '{}'),
      data_type: body.data_type,
      tenant_id,
      priority: body.priority,
      time: momentOf(evaluated_at),
    }
    const submitted = (body.destinations ?? []).map((given) =>
      typeof given === 'string' ? { name: given, inline: false } : { name: given.name, inline: true },
    )
    // The same errors as for a submission.
    const named = submitted.map((one, index) => ({ ...one, index, protocol: undefined }))
    const refusals = [...twice(named), ...checkNames(named, await knownDestinations(db, named), 'none')]
    if (refusals.length > 0) throw invalid(refusals)
    const planned = await planByRules(set, facts, submitted, state.default_destinations, {
      destinations: (names, tags) => findCandidates(db, names, tags),
      turns: (ids) =>
        peekTurns(
          db,
          ids.filter((id) => id !== DRAFT),
        ),
      failures: (names) => recentFailures(db, tenant_id, names),
    })
    return { evaluated_at, planned }
  })
  return { status: 200, body: { evaluated_at, ...explain(planned, SHOWN) } }
})

function twice(named: { name: string; index: number; inline: boolean }[]): Detail[] {
  const seen = new Map<string, number>()
  return named.flatMap(({ name, index, inline }) => {
    const first = seen.get(name)
    if (first === undefined) seen.set(name, index)
    const field = fieldPath(['destinations', index, ...(inline ? ['name'] : [])])
    return first === undefined ? [] : [{ field, issue: `has the same name as destinations[${first}]` }]
  })
}

/** The id of a rule that is not stored. */
const DRAFT = '00000000-0000-0000-0000-000000000000'

/** The stored rules and the draft, which replaces the stored rule of the same name and owner. */
async function withDraft(
  db: Db,
  kept: RuleSet,
  draft: Draft,
  found: readonly Detail[],
  raw: RequestBody,
): Promise<RuleSet> {
  const { name, shared, rule_type, actions, priority = 0 } = draft
  const whole = readExact(raw.texts.get('rule')!, wantedParts([['conditions']])) as { conditions?: Exact }
  const conditions = whole.conditions === undefined ? '{}' : exactText(whole.conditions)
  await checkRule(db, { rule_type, conditions, actions, shared }, found, ['rule'])
  const rule = readRule({ id: DRAFT, version: '', name, shared, rule_type, priority, conditions, actions })
  if ('issues' in rule) throw new Error('a checked rule cannot be read')
  const others = <T extends { name: string; shared: boolean }>(list: readonly T[]) =>
    list.filter((one) => one.name !== name || one.shared !== shared)
  return setOf([...others(kept.rules), rule], others(kept.unreadable))
}
