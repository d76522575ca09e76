// Rules: written and shown.

import { type Db, withTenant } from '../../db/pool.ts'
import {
  deleteRule,
  findRule,
  insertRule,
  listRules,
  type RuleContent,
  type RuleRow,
  sizeOfRules,
  updateRule,
} from '../../db/rules/rules.ts'
import { deleteSharedRule, lockSharedRule, putSharedRule } from '../../db/rules/shared-rules.ts'
import { writeAudit } from '../../db/tenants/audit.ts'
import { requireOwnTenant, requireRole } from '../http/auth.ts'
import type { AppDeps, Caller } from '../http/context.ts'
import { type Endpoint, endpoint, type Request, type RequestBody } from '../http/endpoint.ts'
import { ApiError, type Detail, invalid, notFound } from '../http/errors.ts'
import { refuseOneTooMany } from '../http/object-limits.ts'
import { checkRule, shapeIssues } from '../rules/rule-check.ts'
import { type Keeper, shownActions, takeInActions } from '../rules/shape-forms.ts'
import { parse } from '../schemas/issues.ts'
import {
  newRule,
  newRuleOutline,
  type RuleChange,
  rule,
  ruleChange,
  ruleChangeOutline,
  ruleList,
  ruleListQuery,
  ruleParams,
  ruleQuery,
} from '../schemas/rules.ts'
import { isRefusedByJsonb } from '../submission/submit.ts'
import { ruleTrialEndpoints } from './rule-trial.ts'

const tag = 'Rules'
/** More of them would cost a distribution more than its deliveries. A tenant's own count apart. */
const MAX_SHARED_RULES = 5000
/** Of conditions and actions together, as JSON: every process keeps the rules of the tenants that it serves. */
const MAX_BYTES = 8 * 1024 * 1024
const MAX_PATTERNS = 1000
const MISSING = { 404: { description: 'No such rule of this tenant' } }
const TAKEN = { 409: { description: 'The name is taken, or there are too many rules already' } }
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
  const { pool, sealer, shaper } = deps

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
      const { shared } = body
      if (shared) requireRole(caller, 'platform')
      const { tenant_id } = caller
      const found = await shapeIssues(shaper, tenant_id, body.actions)
      const row = await withTenant(pool, tenant_id, async (db) => {
        const { content, details } = contentOf({ sealer, tenantId: shared ? null : tenant_id }, body, raw)
        const leaves = await checkRule(db, { ...content, actions: body.actions, shared }, [...found, ...details])
        const making = shared ? putSharedRule(db, null, content, leaves) : insertRule(db, tenant_id, content, leaves)
        const made = await making.catch(refuseWrite(content.name))
        if (!made) throw nameTaken(body.name)
        if (!shared) await refuseOneTooMany(db, tenant_id, 'rules')
        await refuseTooMany(db, shared)
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
    query: ruleQuery,
    body: ruleChange,
    body_example: { enabled: false },
    body_checked_by_handler: true,
    answers: { 200: ONE, ...MISSING, ...TAKEN },
    async handle({ c, caller, params, query, raw }) {
      const body = parse(ruleChangeOutline, raw.value)
      requireOwnTenant(caller, body.tenant_id)
      const { tenant_id } = caller
      const found = await shapeIssues(shaper, tenant_id, body.actions)
      const row = await withTenant(pool, tenant_id, async (db) => {
        const present = await findToChange(db, caller, params.id, query.shared === 'true')
        const { id, shared } = present
        const { content, details } = contentOf({ sealer, tenantId: shared ? null : tenant_id }, body, raw, present)
        // Taking a rule out of use must not fail for what has been deleted since.
        const onlyOff = Object.keys(body).every((key) => key === 'enabled' || key === 'tenant_id') && !content.enabled
        const actions = body.actions ?? present.actions
        const leaves = onlyOff ? null : await checkRule(db, { ...content, actions, shared }, [...found, ...details])
        const changing = shared
          ? putSharedRule(db, id, content, leaves)
          : updateRule(db, tenant_id, id, content, leaves)
        const changed = await changing.catch(refuseWrite(content.name))
        if (!changed) throw notFound('rule')
        if (!onlyOff) await refuseTooMany(db, shared)
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
    query: ruleQuery,
    answers: { 200: ONE, ...MISSING },
    async handle({ c, caller, params, query }) {
      const shared = query.shared === undefined ? undefined : query.shared === 'true'
      const row = await withTenant(pool, caller.tenant_id, (db) => findRule(db, params.id, { shared }))
      if (!row) throw notFound('rule')
      return ruleAnswer(c, row)
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
      const { limit = 50, offset = 0, enabled, shared, ...rest } = query
      const truth = (text: 'true' | 'false' | undefined) => (text === undefined ? undefined : text === 'true')
      const filter = { ...rest, enabled: truth(enabled), shared: truth(shared) }
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
    query: ruleQuery,
    answers: { 204: { description: 'Deleted' }, ...MISSING },
    async handle({ c, caller, params, query }) {
      await withTenant(pool, caller.tenant_id, async (db) => {
        const present = await findToChange(db, caller, params.id, query.shared === 'true')
        await (present.shared ? deleteSharedRule : deleteRule)(db, present.id)
        await audit(db, c, caller, 'delete', present)
      })
      return c.body(null, 204)
    },
  })

  return [add, list, ...ruleTrialEndpoints(deps), show, change, remove]
}

/**
 * What is given, over what is there; texts as they were sent, so that numbers keep their digits. And what is wrong with the
 * secrets of its shape.
 */
function contentOf(
  keeper: Keeper,
  body: RuleChange,
  raw: RequestBody,
  present?: RuleRow,
): { content: RuleContent; details: Detail[] } {
  const taken = body.actions && takeInActions(keeper, body.actions, present?.actions, ['actions'])
  const content: RuleContent = {
    name: body.name ?? present?.name ?? '',
    description: body.description === undefined ? (present?.description ?? null) : body.description,
    rule_type: body.rule_type ?? present?.rule_type ?? 'routing',
    conditions: body.conditions ? raw.texts.get('conditions')! : (present?.conditions ?? '{}'),
    actions: JSON.stringify(taken?.actions ?? present?.actions ?? {}),
    priority: body.priority ?? present?.priority ?? 0,
    enabled: body.enabled ?? present?.enabled ?? true,
  }
  return { content, details: taken?.details ?? [] }
}

/** Locked until the transaction ends. That a shared one is meant must be said: it is changed for all tenants. */
async function findToChange(db: Db, caller: Caller, idOrName: string, shared: boolean): Promise<RuleRow> {
  if (shared) requireRole(caller, 'platform')
  let row = await findRule(db, idOrName, { shared, lock: !shared })
  if (!row && !shared && (await findRule(db, idOrName, { shared: true }))) {
    const issue = 'the rule is shared by all tenants: only the role platform changes it, with ?shared=true'
    throw new ApiError('AUTHORIZATION_FAILED', issue)
  }
  if (row?.shared) {
    await lockSharedRule(db, row.id)
    row = await findRule(db, row.id, { shared })
  }
  if (!row) throw notFound('rule')
  return row
}

/** After the deed, which is undone by the refusal. */
async function refuseTooMany(db: Db, shared: boolean): Promise<void> {
  const { count, bytes, patterns } = await sizeOfRules(db, { shared })
  if (shared && count > MAX_SHARED_RULES) {
    throw new ApiError('CONFLICT', `there are at most ${MAX_SHARED_RULES} shared rules: delete one that is not needed`)
  }
  if (bytes > MAX_BYTES) {
    throw new ApiError('CONFLICT', `all rules together must have at most ${MAX_BYTES} bytes, and would have ${bytes}`)
  }
  if (patterns > MAX_PATTERNS) {
    throw new ApiError('CONFLICT', `all rules together must have at most ${MAX_PATTERNS} conditions with "matches"`)
  }
}

/** JSON in which the conditions stand as they were sent. */
function ruleText({ conditions, version: _, ...row }: RuleRow): string {
  const shown = { ...row, actions: shownActions(row.actions as Record<string, unknown>) }
  return `${JSON.stringify(shown).slice(0, -1)},"conditions":${conditions}}`
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
  const { name, rule_type, enabled, priority, shared } = row
  const shown = { name, rule_type, enabled, priority, shared, ...details }
  return writeAudit(db, { tenant_id, actor, action, ...resource, details: shown })
}

function nameTaken(name: string): ApiError {
  const issue = `there is a rule called ${JSON.stringify(name)} already`
  return new ApiError('CONFLICT', issue, [{ field: 'name', issue }])
}

function refuseWrite(name: string): (error: unknown) => never {
  return (error) => {
    // The conditions are read closely enough; of the actions a shape may hold anything.
    if (isRefusedByJsonb(error)) throw invalid([{ field: 'actions', issue: 'holds a value that cannot be stored' }])
    const { constraint } = error as { constraint?: string }
    throw constraint === 'uk_distribution_rules_tenant_name' ? nameTaken(name) : error
  }
}
