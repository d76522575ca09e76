// Rules: write, show, try.
import { type Exact, exactText, readExact, wantedParts } from '../../activities/rules/exact.ts'
import { explain, SHOWN } from '../../activities/rules/explanation.ts'
import { planByRules } from '../../activities/rules/plan.ts'
import { rememberRules } from '../../activities/rules/remembered.ts'
import { type RuleSet, readRule, setOf } from '../../activities/rules/rule.ts'
import { momentOf } from '../../activities/rules/time.ts'
import { writeAudit } from '../../db/audit.ts'
import { type Db, withTenant } from '../../db/pool.ts'
import { findCandidates, peekTurns, recentFailures } from '../../db/rule-lookups.ts'
import {
  countRules,
  deleteRule,
  findRule,
  insertRule,
  listRules,
  loadRules,
  type RuleContent,
  type RuleRow,
  readRuleState,
  updateRule,
} from '../../db/rules.ts'
import { type Endpoint, endpoint, type Request, type RequestBody } from '../endpoint.ts'
import type { AppDeps, Caller } from '../env.ts'
import { ApiError, type Detail, notFound } from '../errors.ts'
import { requireOwnTenant } from '../middleware/auth.ts'
import { checkRule, shapeIssues } from '../rule-check.ts'
import { parse } from '../schemas/issues.ts'
import {
  type Draft,
  evaluation,
  newRule,
  newRuleOutline,
  type RuleChange,
  rule,
  ruleChange,
  ruleChangeOutline,
  ruleList,
  ruleListQuery,
  ruleParams,
  sample,
} from '../schemas/rules.ts'

const tag = 'Rules'
/** More of them would cost a distribution more than its deliveries. */
const MAX_RULES = 5000
const MISSING = { 404: { description: 'No such rule of this tenant' } }
const TAKEN = { 409: { description: 'The name is taken, or there are 5000 rules already' } }
const ONE = { description: 'The rule', schema: rule }

type C = Request<unknown, unknown, unknown>['c']

const EXAMPLE = {
  name: 'italy-to-reporter',
  rule_type: 'routing',
  conditions: {
    all: [
      { path: 'payload.customer.country', operator: 'equal', value: 'IT' },
      { not: { path: 'time.weekday', operator: 'in', value: ['saturday', 'sunday'], time_zone: 'Europe/Rome' } },
    ],
  },
  actions: { destinations: ['ms09-reporter', 'archive'], strategy: 'failover', stop: true },
  priority: 10,
}

export function ruleEndpoints(deps: AppDeps): Endpoint[] {
  const { pool, shaper } = deps
  const rules = rememberRules()

  const add = endpoint({
    method: 'post',
    path: '/rules',
    tag,
    summary: 'Add a rule',
    description:
      'Is asked from the next distribution on that is planned. Refused with the path to whatever cannot be meant.',
    role: 'admin',
    body: newRule,
    body_example: EXAMPLE,
    body_checked_by_handler: true,
    answers: { 201: ONE, ...TAKEN },
    async handle({ c, caller, raw }) {
      const body = parse(newRuleOutline, raw.value)
      requireOwnTenant(caller, body.tenant_id)
      const { tenant_id } = caller
      const found = await shapeIssues(shaper, tenant_id, body.actions)
      const row = await withTenant(pool, tenant_id, async (db) => {
        const content = contentOf(body, raw)
        const leaves = await checkRule(db, { ...content, actions: body.actions }, found)
        if ((await countRules(db)) >= MAX_RULES) throw new ApiError('CONFLICT', `there are ${MAX_RULES} rules already`)
        const made = await insertRule(db, tenant_id, content, leaves)
        if (!made) throw nameTaken(body.name)
        await audit(db, c, caller, 'create', made)
        return made
      })
      return ruleAnswer(c, row, 201)
    },
  })

  const change = endpoint({
    method: 'put',
    path: '/rules/{id}',
    tag,
    summary: 'Change a rule, enable or disable it',
    description:
      'What is absent stays: `{"enabled": false}` takes it out of use. The rule as a whole is checked again.',
    role: 'admin',
    params: ruleParams,
    body: ruleChange,
    body_example: { enabled: false },
    body_checked_by_handler: true,
    answers: { 200: ONE, ...MISSING, ...TAKEN },
    async handle({ c, caller, params, raw }) {
      const body = parse(ruleChangeOutline, raw.value)
      requireOwnTenant(caller, body.tenant_id)
      const { tenant_id } = caller
      const found = await shapeIssues(shaper, tenant_id, body.actions)
      const row = await withTenant(pool, tenant_id, async (db) => {
        const present = await find(db, params.id, { own: true })
        const content = contentOf(body, raw, present)
        // Taking a rule out of use must not fail for what has been deleted since.
        const onlyOff = Object.keys(body).every((key) => key === 'enabled' || key === 'tenant_id') && !content.enabled
        const actions = body.actions ?? present.actions
        const leaves = onlyOff ? null : await checkRule(db, { ...content, actions }, found)
        const changed = await updateRule(db, tenant_id, present.id, content, leaves).catch(
          refuseTakenName(content.name),
        )
        await audit(db, c, caller, 'update', changed, { fields: Object.keys(body) })
        return changed
      })
      return ruleAnswer(c, row)
    },
  })

  const show = endpoint({
    method: 'get',
    path: '/rules/{id}',
    tag,
    summary: 'One rule',
    role: 'viewer',
    params: ruleParams,
    answers: { 200: ONE, ...MISSING },
    async handle({ c, caller, params }) {
      return ruleAnswer(c, await withTenant(pool, caller.tenant_id, (db) => find(db, params.id)))
    },
  })

  const list = endpoint({
    method: 'get',
    path: '/rules',
    tag,
    summary: 'Rules in the order in which they are asked',
    role: 'viewer',
    query: ruleListQuery,
    answers: { 200: { description: 'One page', schema: ruleList } },
    async handle({ c, caller, query }) {
      const { limit = 50, offset = 0, enabled, ...rest } = query
      const filter = { ...rest, ...(enabled === undefined ? {} : { enabled: enabled === 'true' }) }
      const { rules, total } = await withTenant(pool, caller.tenant_id, (db) =>
        listRules(db, filter, { limit, offset }),
      )
      const pagination = { limit, offset, total, has_more: offset + rules.length < total }
      return json(c, `{"rules":[${rules.map(ruleText).join(',')}],"pagination":${JSON.stringify(pagination)}}`)
    },
  })

  const remove = endpoint({
    method: 'delete',
    path: '/rules/{id}',
    tag,
    summary: 'Delete a rule',
    description: 'Distributions that are planned already stay as they are.',
    role: 'admin',
    params: ruleParams,
    answers: { 204: { description: 'Deleted' }, ...MISSING },
    async handle({ c, caller, params }) {
      await withTenant(pool, caller.tenant_id, async (db) => {
        const present = await find(db, params.id, { own: true })
        await deleteRule(db, present.id)
        await audit(db, c, caller, 'delete', present)
      })
      return c.body(null, 204)
    },
  })

  const evaluate = endpoint({
    method: 'post',
    path: '/rules/evaluate',
    tag,
    summary: 'Try the rules on a sample',
    description:
      'Says which rules match, which condition failed on which value, and what the plan would be. The same code plans real distributions; nothing is kept, and no turn of load balancing is taken.',
    role: 'operator',
    body: sample,
    max_body_bytes: Number.POSITIVE_INFINITY,
    answers: { 200: { description: 'Why, and the plan', schema: evaluation } },
    async handle({ c, caller, body, raw }) {
      requireOwnTenant(caller, body.tenant_id)
      const { tenant_id } = caller
      const found = body.rule ? await shapeIssues(shaper, tenant_id, body.rule.actions, ['rule']) : []
      const { evaluated_at, planned } = await withTenant(pool, tenant_id, async (db) => {
        const state = await readRuleState(db, tenant_id)
        const kept = await rules.of(tenant_id, state, () => loadRules(db))
        const set = body.rule ? await withDraft(db, kept, body.rule, found, raw) : kept
        const payload = raw.texts.get('payload')
        const metadata = raw.texts.get('metadata')
        const evaluated_at = body.at ? new Date(body.at) : state.now
        const facts = {
          payload: payload !== undefined && set.payload ? readExact(payload, set.payload) : undefined,
          metadata: readExact(body.metadata ? (metadata ?? '{}') : '{}'),
          data_type: body.data_type,
          tenant_id,
          priority: body.priority,
          time: momentOf(evaluated_at),
        }
        const submitted = (body.destinations ?? []).map((given) =>
          typeof given === 'string' ? { name: given, inline: false } : { name: given.name, inline: true },
        )
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
      return c.json({ evaluated_at: evaluated_at.toISOString(), ...explain(planned, SHOWN) })
    },
  })

  return [add, list, evaluate, show, change, remove]
}

/** Stands for a rule that is tried before it is kept. */
const DRAFT = '00000000-0000-0000-0000-000000000000'

/** The rules with one more, which takes the place of a kept one of the same name. */
async function withDraft(
  db: Db,
  kept: RuleSet,
  draft: Draft,
  found: readonly Detail[],
  raw: RequestBody,
): Promise<RuleSet> {
  const { name, rule_type, actions, priority = 0 } = draft
  const whole = readExact(raw.bytes.toString('utf8'), wantedParts([['rule', 'conditions']])) as {
    rule?: { conditions?: Exact }
  }
  const conditions = whole.rule?.conditions === undefined ? '{}' : exactText(whole.rule.conditions)
  await checkRule(db, { rule_type, conditions, actions }, found, ['rule'])
  const rule = readRule({ id: DRAFT, version: '', name, rule_type, priority, conditions, actions })
  if ('issues' in rule) throw new Error('a rule that was checked can not be read')
  return setOf([...kept.rules.filter((one) => one.name !== name), rule], kept.unreadable)
}

/** What is given, over what is there; texts as they were sent, so that numbers keep their digits. */
function contentOf(body: RuleChange, raw: RequestBody, present?: RuleRow): RuleContent {
  return {
    name: body.name ?? present?.name ?? '',
    description: body.description === undefined ? (present?.description ?? null) : body.description,
    rule_type: body.rule_type ?? present?.rule_type ?? 'routing',
    conditions: body.conditions ? raw.texts.get('conditions')! : (present?.conditions ?? '{}'),
    actions: body.actions ? raw.texts.get('actions')! : JSON.stringify(present?.actions ?? {}),
    priority: body.priority ?? present?.priority ?? 0,
    enabled: body.enabled ?? present?.enabled ?? true,
  }
}

async function find(db: Db, idOrName: string, options?: { own: boolean }): Promise<RuleRow> {
  const row = await findRule(db, idOrName, options)
  if (!row) throw notFound('rule')
  return row
}

/** JSON in which the conditions stand as they were sent. */
function ruleText({ conditions, version: _, ...row }: RuleRow): string {
  return `${JSON.stringify(row).slice(0, -1)},"conditions":${conditions}}`
}

function ruleAnswer(c: C, row: RuleRow, status: 200 | 201 = 200): Response {
  return json(c, ruleText(row), status)
}

function json(c: C, text: string, status: 200 | 201 = 200): Response {
  return c.body(text, status, { 'Content-Type': 'application/json' })
}

function audit(db: Db, c: C, caller: Caller, action: string, row: RuleRow, details: Record<string, unknown> = {}) {
  const { tenant_id, actor } = caller
  const resource = { resource_type: 'rule', resource_id: row.id, request_id: c.get('request_id') }
  const shown = { name: row.name, rule_type: row.rule_type, enabled: row.enabled, priority: row.priority, ...details }
  return writeAudit(db, { tenant_id, actor, action, ...resource, details: shown })
}

function nameTaken(name: string): ApiError {
  const issue = `there is a rule called ${JSON.stringify(name)} already`
  return new ApiError('CONFLICT', issue, [{ field: 'name', issue }])
}

function refuseTakenName(name: string): (error: unknown) => never {
  return (error) => {
    const { constraint } = error as { constraint?: string }
    throw constraint === 'uk_distribution_rules_tenant_name' ? nameTaken(name) : error
  }
}
