// Rules, as they are sent, shown and tried.
import { z } from '@hono/zod-openapi'
import { ACTIONS, distinct } from '../../activities/rules/actions.ts'
import { OPERATOR_NAMES, OPERATORS } from '../../activities/rules/operators.ts'
import { ROOTS } from '../../activities/rules/paths.ts'
import { PRIORITIES, RULE_TYPES, WHEN_NO_DESTINATION } from '../../db/states.ts'
import { characters, exact, instant, nameField, tenantField, time, whole, wholeText } from './fields.ts'

const object = z.record(z.string(), z.unknown())

export const ruleParams = z.object({
  id: z
    .string()
    .openapi({ param: { name: 'id', in: 'path' }, description: 'uuid or name', example: 'italy-to-reporter' }),
})

const sharedText = z.enum(['true', 'false']).optional()

export const ruleQuery = z.strictObject({
  shared: sharedText.openapi({ description: 'The shared one; its change needs `platform`' }),
})

const ruleName = characters(1, 100)
  .refine((name) => !z.uuid().safeParse(name).success, 'may not have the form of an id')
  .refine((name) => name !== 'evaluate', 'is a word of the API itself')
const priority = whole(-1_000_000, 1_000_000)

const question = z
  .strictObject({
    path: z.string().openapi({
      description: `What is looked at; begins with ${ROOTS.join(', ')}. Below payload and metadata: \`.name\`, \`[0]\`, \`[*]\` (each element; holds when it does for one), \`["odd key"]\`; below time: hour, weekday, date, time.`,
      example: 'payload.customer.country',
    }),
    operator: z.enum(OPERATOR_NAMES).openapi({
      description: OPERATOR_NAMES.map((name) => `\`${name}\`: ${OPERATORS[name].about}.`).join(' '),
    }),
    value: z
      .unknown()
      .openapi({ description: 'What it is compared with; numbers count with every digit', example: 'IT' }),
    time_zone: z
      .string()
      .optional()
      .openapi({ description: 'For paths below time; UTC when absent', example: 'Europe/Rome' }),
  })
  .openapi('RuleQuestion')

const conditions = z
  .union([
    question,
    z.strictObject({ all: z.array(z.unknown()).openapi({ description: 'Conditions that must all hold' }) }),
    z.strictObject({ any: z.array(z.unknown()).openapi({ description: 'Conditions of which one must hold' }) }),
    z.strictObject({ not: object.openapi({ description: 'A condition that must not hold' }) }),
    z.strictObject({}),
  ])
  .openapi('RuleConditions', { description: 'Nested `all`, `any` and `not` around questions; `{}` holds always.' })

const actions = z
  .union([ACTIONS.routing, ACTIONS.filtering, ACTIONS.transformation, ACTIONS.prioritization])
  .openapi('RuleActions', { description: 'By rule_type: routing, filtering, transformation, prioritization.' })

const given = {
  tenant_id: tenantField,
  description: characters(0, 10_000).nullish(),
  priority: priority.optional().openapi({ description: 'The highest is asked first; 0 when absent, then by name' }),
  enabled: z.boolean().optional(),
}

const sharedField = z.boolean().default(false).openapi({
  description:
    'Of all tenants; needs role `platform`. Its names and tags mean the destinations that each tenant has; what a tenant does not have is passed over',
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
  .openapi('RuleChange', { description: 'What is absent stays.' })

/** Conditions and actions are read by the rules themselves, which know better what is wrong with them. */
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
    tenant_id: z.string().nullable().openapi({ description: 'Null: shared by all tenants' }),
    shared: z.boolean(),
    name: z.string(),
    description: z.string().nullable(),
    rule_type: z.enum(RULE_TYPES),
    conditions: exact(conditions),
    // What is kept may have been written by hand.
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
  shared: sharedText.openapi({ description: 'Those of all tenants, or the tenant’s own' }),
  destination: nameField.optional().openapi({ description: 'Rules whose actions name it' }),
  tag: characters(1, 100).optional(),
  path: characters(1, 500)
    .optional()
    .openapi({ description: 'Rules that look at it or below it', example: 'payload.customer' }),
  limit: wholeText(1, 1000).optional(),
  offset: wholeText(0, 100_000_000).optional(),
})

export const ruleList = z
  .object({
    rules: z.array(rule),
    pagination: z.object({ limit: z.int(), offset: z.int(), total: z.int(), has_more: z.boolean() }),
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
      .openapi({ description: 'As in a submission; absent or empty: routing rules choose' }),
    at: instant.optional().openapi({ description: 'The time at which it would be planned; now when absent' }),
    rule: newRuleOutline.optional().openapi({
      description: 'One more rule, which is not kept; takes the place of the kept one of the same name',
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
        matched: z.boolean().nullable().openapi({ description: 'Null: not asked, a rule before it ended the matter' }),
        conditions: object.optional().openapi({
          description:
            'As asked, each with `matched`; of a question also `value` and `actual` as JSON text, or `missing`; below `[*]` also `at`, the element for which it holds. What did not need to be asked is left out.',
        }),
        note: z.string().optional(),
      }),
    )
    .openapi({ description: 'What matched comes first' }),
  rules_omitted: z.int().openapi({ description: 'Left out for their size' }),
  destinations: z.array(
    z.object({
      name: z.string(),
      protocol: maybeText,
      status: z
        .enum(['pending', 'failed', 'skipped'])
        .openapi({ description: 'As it was planned; how it went since is in the status of the distribution' }),
      error_code: maybeText,
      error_message: maybeText,
      rule: maybeText.openapi({ description: 'That chose it' }),
      failover_group: z.int().nullable(),
      standby: z.boolean().openapi({ description: 'Only when those before it in its group have failed' }),
      required: z
        .boolean()
        .openapi({ description: 'Another rule sends to it as well, so that a success of its group does not do' }),
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
      .openapi({ description: 'Null where the submission named its destinations and no rule was asked' }),
  })
  .openapi('DistributionExplanation')

const route = {
  destinations: z
    .array(nameField)
    .max(1000)
    .superRefine(distinct)
    .openapi({ description: 'Serve what names no destination and no rule routes' }),
  when_none: z
    .enum(WHEN_NO_DESTINATION)
    .openapi({ description: 'What a distribution comes to for which nothing is chosen' }),
}
export const newDefaultRoute = z.strictObject({ tenant_id: tenantField, ...route }).openapi('NewDefaultRoute')
export const defaultRoute = z.object(route).openapi('DefaultRoute')
