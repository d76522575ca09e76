// The actions of a rule, by its type.
import { z } from 'zod'
import { PRIORITIES, type RuleType } from '../../db/states.ts'
import { shapeConfig } from '../shaping/config.ts'

export const STRATEGIES = ['all', 'failover', 'load_balance'] as const
export const BALANCES = ['round_robin', 'weighted', 'least_failing'] as const
export type Balance = (typeof BALANCES)[number]

const MAX_NAMES = 1000
const MAX_TAGS = 50

const name = z.string().regex(/^[a-zA-Z0-9_-]{1,100}$/, 'must be 1 to 100 letters, digits, _ or -')
const names = z
  .array(name)
  .min(1, 'must name at least one destination, or be left out')
  .max(MAX_NAMES, `must have at most ${MAX_NAMES} entries`)
  .superRefine(distinct)
const tags = z
  .array(z.string().min(1, 'must not be empty').max(100, 'must have at most 100 characters'))
  .min(1, 'must name at least one tag, or be left out')
  .max(MAX_TAGS, `must have at most ${MAX_TAGS} entries`)
  .superRefine(distinct)
const stop = z.boolean().default(false).describe('Rules of the same type with a lower priority are not evaluated')

const routing = z
  .strictObject({
    destinations: names.optional().describe('Names of registered destinations, in the order of `failover`'),
    tags: tags.optional().describe('Registered destinations that have one of these tags when the plan is made'),
    strategy: z
      .enum(STRATEGIES)
      .default('all')
      .describe('Which of them: all, one after another until one succeeds, or one in turn'),
    balance: z.enum(BALANCES).optional().describe('How `load_balance` takes turns; `round_robin` when absent'),
    weights: z
      .record(
        name,
        z.int('must be a whole number from 0 to 100').min(0, 'must be at least 0').max(100, 'must be at most 100'),
      )
      .optional()
      .describe('For `weighted`: the share of each destination; 1 when absent'),
    stop,
  })
  .superRefine((actions, context) => {
    const fail = (issue: string, ...path: string[]) => context.addIssue({ code: 'custom', message: issue, path })
    const { destinations, tags, strategy, balance, weights } = actions
    if (!destinations && !tags) fail('is required, unless tags are given', 'destinations')
    if (balance !== undefined && strategy !== 'load_balance') fail('needs the strategy "load_balance"', 'balance')
    if (weights === undefined) return
    if (balance !== 'weighted') fail('needs the balance "weighted"', 'weights')
    if (!tags) {
      for (const key of Object.keys(weights)) {
        if (!destinations?.includes(key)) fail('is not among the destinations', 'weights', key)
      }
    }
    if (destinations && !tags && destinations.every((one) => weights[one] === 0))
      fail('must have at least one weight above 0', 'weights')
  })

const filtering = z.strictObject({
  drop: z
    .literal(true, 'must be true')
    .describe('Nothing is delivered to the destinations below, or to any if none are given'),
  destinations: names.optional(),
  tags: tags.optional(),
  reason: z
    .string()
    .min(1, 'must not be empty')
    .max(500, 'must have at most 500 characters')
    .optional()
    .describe('Shown at the dropped distribution or destination'),
  stop,
})

const transformation = z.strictObject({
  shape: shapeConfig
    .refine((shape) => Object.keys(shape).length > 0, 'must not be empty')
    .describe("As a destination's `transform_config`, which is applied to its result"),
  destinations: names.optional().describe('Only these; all when neither names nor tags are given'),
  tags: tags.optional(),
  stop,
})

const whole = (min: number, max: number) =>
  z
    .int(`must be a whole number from ${min} to ${max}`)
    .min(min, `must be at least ${min}`)
    .max(max, `must be at most ${max}`)

const prioritization = z
  .strictObject({
    priority: z.enum(PRIORITIES).optional(),
    expires_in_seconds: whole(1, 2_592_000)
      .optional()
      .describe('From the submission or `deliver_at` on; replaces what the submission says'),
    max_retries: whole(0, 50).optional().describe('Replaces the numbers of submission and destination'),
    stop,
  })
  .refine(
    ({ priority, expires_in_seconds, max_retries }) => (priority ?? expires_in_seconds ?? max_retries) !== undefined,
    'must set priority, expires_in_seconds or max_retries',
  )

export const ACTIONS = { routing, filtering, transformation, prioritization } satisfies Record<RuleType, z.ZodType>

export type Actions<T extends RuleType = RuleType> = z.output<(typeof ACTIONS)[T]>

/** Refuses a list with duplicates. */
export function distinct(
  list: string[],
  context: { addIssue(issue: { code: 'custom'; message: string; path: number[] }): void },
): void {
  for (const [index, one] of list.entries()) {
    const first = list.indexOf(one)
    if (first < index) context.addIssue({ code: 'custom', message: `is a duplicate of entry ${first}`, path: [index] })
  }
}
