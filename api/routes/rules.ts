// Rules: create, read, change, delete.
import { z } from 'zod'
import type { Db } from '../../db/pool.ts'
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
import { requireRole } from '../http/auth.ts'
import type { Caller } from '../http/context.ts'
import { endpoint, type RequestBody } from '../http/endpoint.ts'
import { ApiError, type Detail, invalid, nameTaken, notFound } from '../http/errors.ts'
import { JsonText } from '../http/exact-json.ts'
import { refuseOneTooMany } from '../http/object-limits.ts'
import { pageOf, readPage } from '../http/pages.ts'
import { checkRule, shapeIssues } from '../rules/rule-check.ts'
import { actionsToStored, type ShapeOwner, shownActions } from '../rules/shape-forms.ts'
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

const tag = 'Rules'
/** Evaluating more rules would take longer than the deliveries. The rules of tenants have their own limit. */
const MAX_SHARED_RULES = 5000
/** The size of conditions and actions as JSON is limited, because every process caches the rules of its tenants. */
const MAX_BYTES = 8 * 1024 * 1024
const MAX_PATTERNS = 1000
const MISSING = { 404: { description: 'The tenant has no such rule' } }
const TAKEN = { 409: { description: 'The name is taken, or there are too many rules' } }
const ONE = { description: 'The rule', schema: rule }

const LIST_KEY = z.object({ priority: z.int(), name: z.string(), shared: z.boolean() })

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

const entry = (
  action: string,
  { id, name, rule_type, enabled, priority, shared }: RuleRow,
  details: Record<string, unknown> = {},
) => ({
  action,
  resource_type: 'rule',
  resource_id: id,
  details: { name, rule_type, enabled, priority, shared, ...details },
})

export const add = endpoint({
  method: 'post',
  path: '/rules',
  operation: 'addRule',
  tag,
  summary: 'Add a rule',
  description:
    'Applies to distributions that are planned after that. An invalid rule is rejected; the error gives the path of each problem.',
  role: 'admin',
  body: newRuleOutline,
  body_documentation: newRule,
  body_example: EXAMPLE,
  answers: { 201: ONE, ...TAKEN },
}).handle(async ({ deps: { sealer, shaper }, caller, transaction, audit, body, raw }) => {
  const { shared } = body
  if (shared) requireRole(caller, 'platform')
  const { tenant_id } = caller
  const found = await shapeIssues(shaper, tenant_id, body.actions)
  const row = await transaction(async (db) => {
    const { content, details } = contentOf({ sealer, tenantId: shared ? null : tenant_id }, body, raw)
    const leaves = await checkRule(db, { ...content, actions: body.actions, shared }, [...found, ...details])
    const making = shared ? putSharedRule(db, null, content, leaves) : insertRule(db, tenant_id, content, leaves)
    const made = await making.catch(refuseWrite(content.name))
    if (!made) throw nameTaken('rule', body.name, 'name', '/rules/{id}')
    if (!shared) await refuseOneTooMany(db, tenant_id, 'rules')
    await refuseTooMany(db, shared)
    await audit(db, entry('create', made))
    return made
  })
  return { status: 201, body: shown(row) }
})

export const list = endpoint({
  method: 'get',
  path: '/rules',
  operation: 'listRules',
  tag,
  summary: 'List rules, in the order of evaluation',
  role: 'viewer',
  query: ruleListQuery,
  answers: { 200: { description: 'One page', schema: ruleList } },
}).handle(async ({ transaction, query }) => {
  const { limit, offset, after, filter: given } = readPage(query, LIST_KEY)
  const { enabled, shared, ...rest } = given
  const truth = (text: 'true' | 'false' | undefined) => (text === undefined ? undefined : text === 'true')
  const filter = { ...rest, enabled: truth(enabled), shared: truth(shared) }
  const { rules, total } = await transaction((db) => listRules(db, filter, { limit: limit + 1, offset, after }))
  const { page, pagination } = pageOf(rules, limit, ({ priority, name, shared }) => ({ priority, name, shared }))
  return { status: 200, body: { rules: page.map(shown), pagination: { ...pagination, offset, total } } }
})

export const show = endpoint({
  method: 'get',
  path: '/rules/{id}',
  operation: 'getRule',
  tag,
  summary: 'Get a rule',
  role: 'viewer',
  params: ruleParams,
  query: ruleQuery,
  answers: { 200: ONE, ...MISSING },
}).handle(async ({ transaction, params, query }) => {
  const shared = query.shared === undefined ? undefined : query.shared === 'true'
  const row = await transaction((db) => findRule(db, params.id, { shared }))
  if (!row) throw notFound('rule')
  return { status: 200, body: shown(row) }
})

export const change = endpoint({
  method: 'put',
  path: '/rules/{id}',
  operation: 'changeRule',
  tag,
  summary: 'Change a rule',
  description:
    'Absent fields stay unchanged; `{"enabled": false}` disables the rule. The changed rule is validated as a whole.',
  role: 'admin',
  params: ruleParams,
  query: ruleQuery,
  body: ruleChangeOutline,
  body_documentation: ruleChange,
  body_example: { enabled: false },
  answers: { 200: ONE, ...MISSING, ...TAKEN },
}).handle(async ({ deps: { sealer, shaper }, caller, transaction, audit, params, query, body, raw }) => {
  const { tenant_id } = caller
  const found = await shapeIssues(shaper, tenant_id, body.actions)
  const row = await transaction(async (db) => {
    const present = await findToChange(db, caller, params.id, query.shared === 'true')
    const { id, shared } = present
    const { content, details } = contentOf({ sealer, tenantId: shared ? null : tenant_id }, body, raw, present)
    // Disabling a rule must be possible even if a destination in it was deleted.
    const onlyOff = Object.keys(body).every((key) => key === 'enabled' || key === 'tenant_id') && !content.enabled
    const actions = body.actions ?? present.actions
    const leaves = onlyOff ? null : await checkRule(db, { ...content, actions, shared }, [...found, ...details])
    const changing = shared ? putSharedRule(db, id, content, leaves) : updateRule(db, tenant_id, id, content, leaves)
    const changed = await changing.catch(refuseWrite(content.name))
    if (!changed) throw notFound('rule')
    if (!onlyOff) await refuseTooMany(db, shared)
    await audit(db, entry('update', changed, { fields: Object.keys(body) }))
    return changed
  })
  return { status: 200, body: shown(row) }
})

export const remove = endpoint({
  method: 'delete',
  path: '/rules/{id}',
  operation: 'deleteRule',
  tag,
  summary: 'Delete a rule',
  description: 'Distributions that are already planned are not changed.',
  role: 'admin',
  params: ruleParams,
  query: ruleQuery,
  answers: { 204: { description: 'Deleted' }, ...MISSING },
}).handle(async ({ caller, transaction, audit, params, query }) => {
  await transaction(async (db) => {
    const present = await findToChange(db, caller, params.id, query.shared === 'true')
    await (present.shared ? deleteSharedRule : deleteRule)(db, present.id)
    await audit(db, entry('delete', present))
  })
  return { status: 204 }
})

/**
 * The given fields, and the present values of the others. Conditions stay exactly as they were sent, so that numbers keep
 * their digits. `details` are the problems of the secrets in its shape.
 */
function contentOf(
  owner: ShapeOwner,
  body: RuleChange,
  raw: RequestBody,
  present?: RuleRow,
): { content: RuleContent; details: Detail[] } {
  const taken = body.actions && actionsToStored(owner, body.actions, present?.actions, ['actions'])
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

/** Locks the rule until the transaction ends. A shared rule needs `?shared=true`, because it changes for all tenants. */
async function findToChange(db: Db, caller: Caller, idOrName: string, shared: boolean): Promise<RuleRow> {
  if (shared) requireRole(caller, 'platform')
  let row = await findRule(db, idOrName, { shared, lock: !shared })
  if (!row && !shared && (await findRule(db, idOrName, { shared: true }))) {
    const issue = 'the rule is shared by all tenants: to change it, use a key with the role platform and ?shared=true'
    throw new ApiError('AUTHORIZATION_FAILED', issue)
  }
  if (row?.shared) {
    await lockSharedRule(db, row.id)
    row = await findRule(db, row.id, { shared })
  }
  if (!row) throw notFound('rule')
  return row
}

/** Call it after the change, in the same transaction: the error rolls the change back. */
async function refuseTooMany(db: Db, shared: boolean): Promise<void> {
  const { count, bytes, patterns } = await sizeOfRules(db, { shared })
  if (shared && count > MAX_SHARED_RULES) {
    throw new ApiError(
      'CONFLICT',
      `there can be at most ${MAX_SHARED_RULES} shared rules: delete one that is not needed`,
    )
  }
  if (bytes > MAX_BYTES) {
    throw new ApiError('CONFLICT', `all rules together can have at most ${MAX_BYTES} bytes, and would have ${bytes}`)
  }
  if (patterns > MAX_PATTERNS) {
    throw new ApiError('CONFLICT', `all rules together can have at most ${MAX_PATTERNS} conditions with "matches"`)
  }
}

/** The conditions are exactly as they were sent. */
function shown({ conditions, version: _, ...row }: RuleRow) {
  const actions = shownActions(row.actions as Record<string, unknown>)
  return { ...row, actions, conditions: new JsonText(conditions) }
}

function refuseWrite(name: string): (error: unknown) => never {
  return (error) => {
    // The conditions are already checked; a shape in the actions may contain anything.
    if (isRefusedByJsonb(error)) throw invalid([{ field: 'actions', issue: 'contains a value that cannot be stored' }])
    const { constraint } = error as { constraint?: string }
    throw constraint === 'uk_distribution_rules_tenant_name' ? nameTaken('rule', name) : error
  }
}
