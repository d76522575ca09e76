// Requests and responses of rules.
import { z } from '@hono/zod-openapi'
import { ACTIONS, distinct } from '../../activities/rules/actions.ts'
import { OPERATOR_NAMES, OPERATORS } from '../../activities/rules/operators.ts'
import { ROOTS } from '../../activities/rules/paths.ts'
import { PRIORITIES, RULE_TYPES, WHEN_NO_DESTINATION } from '../../db/states.ts'
import { characters, exact, instant, nameField, tenantField, time, whole } from './fields.ts'
import { offsetPagination, offsetQuery } from './pages.ts'

const object = z.record(z.string(), z.unknown())

export const ruleParams = z.object({
  id: z
    .string()
    .openapi({ param: { name: 'id', in: 'path' }, description: 'The uuid or the name', example: 'italy-to-reporter' }),
})

const sharedText = z.enum(['true', 'false']).optional()

export const ruleQuery = z.strictObject({
  shared: sharedText.openapi({ description: 'Selects the shared rule; changing it needs role `platform`' }),
})

const ruleName = characters(1, 100)
  .refine((name) => !z.uuid().safeParse(name).success, 'must not look like a uuid')
  .refine((name) => name !== 'evaluate', 'is reserved by the API')
const priority = whole(-1_000_000, 1_000_000)

const comparison = z
  .strictObject({
    path: z.string().openapi({
      description: `Path of the value to compare; starts with ${ROOTS.join(', ')}. In payload and metadata: \`.name\`, \`[0]\`, \`[*]\` (matches if any element does), \`["odd key"]\`. In time: hour, weekday, date, time.`,
      example: 'payload.customer.country',
    }),
    operator: z.enum(OPERATOR_NAMES).openapi({
      description: OPERATOR_NAMES.map((name) => `\`${name}\`: ${OPERATORS[name].about}.`).join(' '),
    }),
    value: z
      .unknown()
      .openapi({ description: 'The value to compare with; numbers are compared with all their digits', example: 'IT' }),
    time_zone: z
      .string()
      .optional()
      .openapi({ description: 'For paths in `time`. Default: UTC', example: 'Europe/Rome' }),
  })
  .openapi('RuleComparison')

const conditions = z
  .union([
    comparison,
    z.strictObject({ all: z.array(z.unknown()).openapi({ description: 'All of these conditions must match' }) }),
    z.strictObject({
      any: z.array(z.unknown()).openapi({ description: 'At least one of these conditions must match' }),
    }),
    z.strictObject({ not: object.openapi({ description: 'This condition must not match' }) }),
    z.strictObject({}),
  ])
  .openapi('RuleConditions', { description: 'Comparisons, combined with `all`, `any` and `not`. `{}` always matches.' })

const actions = z
  .union([ACTIONS.routing, ACTIONS.filtering, ACTIONS.transformation, ACTIONS.prioritization])
  .openapi('RuleActions', {
    description: 'What the rule does; depends on `rule_type`: routing, filtering, transformation or prioritization.',
  })

const given = {
  tenant_id: tenantField,
  description: characters(0, 10_000).nullish(),
  priority: priority.optional().openapi({
    description: 'Rules with a higher priority are evaluated first; rules of the same priority by name. Default 0',
  }),
  enabled: z.boolean().optional(),
}

const sharedField = z.boolean().default(false).openapi({
  description:
    'Shared by all tenants; needs role `platform`. Its names and tags select destinations of each tenant; names that a tenant does not have are ignored',
})

/** For the documentation. */
export const newRule = z
  .strictObject({
    name: ruleName,
    rule_type: z.enum(RULE_TYPES),
    conditions: conditions.optional(),
    actions,
    ...given,
    shared: sharedField,
  })
  .openapi('NewRule')
export const ruleChange = newRule
  .omit({ shared: true })
  .partial()
  .openapi('RuleChange', { description: 'Absent fields stay unchanged.' })

/** Conditions and actions are checked by the rule engine, which gives better errors. */
export const newRuleOutline = z.strictObject({
  name: ruleName,
  rule_type: z.enum(RULE_TYPES, `must be one of ${RULE_TYPES.join(', ')}`),
  conditions: object.optional(),
  actions: object,
  ...given,
  shared: sharedField,
})
export type Draft = z.output<typeof newRuleOutline>
export const ruleChangeOutline = newRuleOutline.omit({ shared: true }).partial()
export type RuleChange = z.output<typeof ruleChangeOutline>

export const rule = z
  .object({
    id: z.uuid(),
    tenant_id: z.string().nullable().openapi({ description: 'Null for a rule shared by all tenants' }),
    shared: z.boolean(),
    name: z.string(),
    description: z.string().nullable(),
    rule_type: z.enum(RULE_TYPES),
    conditions: exact(conditions),
    // A stored rule may have been written in SQL.
    actions: actions as z.ZodType<Record<string, unknown>>,
    priority: z.int(),
    enabled: z.boolean(),
    created_at: time,
    updated_at: time,
  })
  .openapi('Rule')

export const ruleListQuery = z.strictObject({
  rule_type: z.enum(RULE_TYPES).optional(),
  enabled: z.enum(['true', 'false']).optional(),
  shared: sharedText.openapi({ description: 'Only shared rules, or only rules of the tenant' }),
  destination: nameField.optional().openapi({ description: 'Rules whose actions name this destination' }),
  tag: characters(1, 100).optional(),
  path: characters(1, 500)
    .optional()
    .openapi({ description: 'Rules with a condition on this path or below it', example: 'payload.customer' }),
  ...offsetQuery,
})

export const ruleList = z
  .object({
    rules: z.array(rule),
    pagination: offsetPagination,
  })
  .openapi('RuleList')

export const sample = z
  .strictObject({
    tenant_id: tenantField,
    payload: z
      .unknown()
      .optional()
      .openapi({ example: { customer: { country: 'IT' }, total: 120.5 } }),
    metadata: object.nullish(),
    data_type: characters(1, 50).default('sample'),
    priority: z.enum(PRIORITIES).default('normal'),
    destinations: z
      .array(z.union([nameField, z.looseObject({ name: nameField, protocol: z.string() })]))
      .max(1000)
      .nullish()
      .openapi({ description: 'As in a submission. Absent or empty: routing rules choose' }),
    at: instant.optional().openapi({ description: 'The time of planning. Default: now' }),
    rule: newRuleOutline.optional().openapi({
      description: 'An additional rule, which is not stored; replaces the stored rule of the same name',
    }),
  })
  .openapi('RuleSample')

const maybeText = z.string().nullable()
const setBy = <T extends z.ZodType>(value: T) => z.object({ value, rule: z.string() }).nullable()

const explanation = {
  chosen_by: z.enum(['submission', 'rules', 'default', 'none']),
  rules: z
    .array(
      z.object({
        id: z.string(),
        name: z.string(),
        shared: z.literal(true).optional(),
        rule_type: z.enum(RULE_TYPES),
        priority: z.int(),
        matched: z
          .boolean()
          .nullable()
          .openapi({ description: 'Null: not evaluated, because an earlier rule ended the evaluation' }),
        conditions: object.optional().openapi({
          description:
            'The evaluated conditions, each with `matched`. A comparison also has `value` and `actual` as JSON text, or `missing`; with `[*]` also `at`, the element that matched. Conditions that were not needed are left out.',
        }),
        note: z.string().optional(),
      }),
    )
    .openapi({ description: 'Rules that matched come first' }),
  rules_omitted: z.int().openapi({ description: 'Number of rules left out because of their size' }),
  destinations: z.array(
    z.object({
      name: z.string(),
      protocol: maybeText,
      status: z.enum(['pending', 'failed', 'skipped']).openapi({
        description: 'The status when it was planned; the status of the distribution shows the current one',
      }),
      error_code: maybeText,
      error_message: maybeText,
      rule: maybeText.openapi({ description: 'The rule that chose it' }),
      failover_group: z.int().nullable(),
      standby: z
        .boolean()
        .openapi({ description: 'Sent only if all destinations before it in its failover group have failed' }),
      required: z
        .boolean()
        .openapi({ description: 'Another rule selects it too: it is sent even if its failover group has succeeded' }),
      shaped: z.boolean().openapi({ description: 'A transformation rule shapes its payload' }),
    }),
  ),
  destinations_omitted: z.int(),
  dropped: z.object({ rule: z.string(), reason: maybeText }).nullable(),
  priority: setBy(z.enum(PRIORITIES)),
  expires_in_seconds: setBy(z.int()),
  max_retries: setBy(z.int()),
  warnings: z.array(z.string()),
}

export const evaluation = z.object({ evaluated_at: time, ...explanation }).openapi('RuleEvaluation')

export const distributionExplanation = z
  .object({
    distribution_id: z.string(),
    planned_at: time.nullable().openapi({ description: 'Null: not planned yet' }),
    explanation: z
      .object(explanation)
      .nullable()
      .openapi({ description: 'Null if the submission named its destinations and no rule was evaluated' }),
  })
  .openapi('DistributionExplanation')

const route = {
  destinations: z
    .array(nameField)
    .max(1000)
    .superRefine(distinct)
    .openapi({ description: 'For distributions without destinations that no routing rule matches' }),
  when_none: z.enum(WHEN_NO_DESTINATION).openapi({
    description: 'Status of a distribution for which no destination is chosen: completed with a warning, or failed',
  }),
}
export const newDefaultRoute = z.strictObject({ tenant_id: tenantField, ...route }).openapi('NewDefaultRoute')
export const defaultRoute = z.object(route).openapi('DefaultRoute')
