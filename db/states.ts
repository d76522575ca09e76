// Every state and code that a row can hold, named once. The zod enums and the types derive from these lists.
// Statements take `OPEN_JOB` and `OPEN_DELIVERY` into their text: the planner uses a partial index only for constants.

/** States of a distribution (`distribution_jobs.status`). */
export const JOB_STATUSES = ['pending', 'processing', 'completed', 'failed', 'cancelled'] as const
export type JobStatus = (typeof JOB_STATUSES)[number]
const OPEN_JOB_STATUSES = ['pending', 'processing'] as const satisfies readonly JobStatus[]
export type FinalJobStatus = Exclude<JobStatus, (typeof OPEN_JOB_STATUSES)[number]>
/** SQL: `status in ${OPEN_JOB}`. */
export const OPEN_JOB = sqlList(OPEN_JOB_STATUSES)

/** States of one destination's delivery within a distribution (`distribution_deliveries.status`). */
export const DELIVERY_STATUSES = [
  'pending',
  'processing',
  'waiting',
  'success',
  'failed',
  'skipped',
  'cancelled',
] as const
export type DeliveryStatus = (typeof DELIVERY_STATUSES)[number]
const OPEN_DELIVERY_STATUSES = ['pending', 'processing', 'waiting'] as const satisfies readonly DeliveryStatus[]
/** SQL: `status in ${OPEN_DELIVERY}`. */
export const OPEN_DELIVERY = sqlList(OPEN_DELIVERY_STATUSES)

const OPEN: ReadonlySet<string> = new Set([...OPEN_JOB_STATUSES, ...OPEN_DELIVERY_STATUSES])

/** Whether a distribution or a delivery has ended. Only a retry opens it again. */
export function isFinal(status: JobStatus | DeliveryStatus): boolean {
  return !OPEN.has(status)
}

function sqlList(statuses: readonly string[]): string {
  return `(${statuses.map((status) => `'${status}'`).join(', ')})`
}

/** States of one attempt (`distribution_attempts.status`). */
export const ATTEMPT_STATUSES = ['pending', 'processing', 'success', 'failed', 'retry', 'cancelled'] as const
export type AttemptStatus = (typeof ATTEMPT_STATUSES)[number]

/** Why a delivery waits although its next attempt could be made (`distribution_deliveries.deferred_by`). */
export type DeferralReason = 'tenant' | 'disabled' | 'circuit' | 'share' | 'concurrency' | 'rate_limit'

/** Priorities of a distribution. */
export const PRIORITIES = ['low', 'normal', 'high', 'critical'] as const
export type Priority = (typeof PRIORITIES)[number]

/** What a batch does: it submits new distributions or retries existing ones. */
export const BATCH_KINDS = ['submit', 'retry'] as const
export type BatchKind = (typeof BATCH_KINDS)[number]

/** States of a batch: those of its distributions, taken together. */
export const BATCH_STATUSES = ['processing', 'completed', 'failed', 'cancelled'] as const
export type BatchStatus = (typeof BATCH_STATUSES)[number]

/** States of one distribution within a batch; `skipped`: there was nothing to retry. */
export const BATCH_ITEM_STATUSES = [...JOB_STATUSES, 'skipped'] as const
export type BatchItemStatus = (typeof BATCH_ITEM_STATUSES)[number]

/** What a schedule does when its previous distribution is not final yet. */
export const OVERLAPS = ['skip', 'buffer_one', 'buffer_all', 'allow_all'] as const
export type Overlap = (typeof OVERLAPS)[number]

/** States of a tenant. For one that is not `active` nothing is sent, and its API keys are rejected. */
export const TENANT_STATUSES = ['active', 'suspended', 'inactive'] as const
export type TenantStatus = (typeof TENANT_STATUSES)[number]

/** States of a registered destination. Nothing is sent to one that is `inactive` or in `maintenance`. */
export const DESTINATION_STATUSES = ['active', 'inactive', 'maintenance', 'deprecated'] as const
export type DestinationStatus = (typeof DESTINATION_STATUSES)[number]

/** Results of a destination's health check; `unknown` before the first one. */
export const HEALTH_STATUSES = ['healthy', 'unhealthy', 'unknown'] as const
export type HealthStatus = (typeof HEALTH_STATUSES)[number]

/** `half_open`: one delivery may try, and its result closes or opens the circuit. */
export const CIRCUIT_STATES = ['closed', 'open', 'half_open'] as const
export type CircuitStatus = (typeof CIRCUIT_STATES)[number]

/** What happens to a payload that does not fit its data type: rejected, or accepted with a warning. */
export const VALIDATION_MODES = ['enforce', 'warn'] as const
export type ValidationMode = (typeof VALIDATION_MODES)[number]

/** How a distribution without any destination ends. */
export const WHEN_NO_DESTINATION = ['complete', 'fail'] as const
export type WhenNoDestination = (typeof WHEN_NO_DESTINATION)[number]

/** What a webhook is about: a distribution or a batch that has ended, or an event for the operator. */
export const WEBHOOK_KINDS = ['distribution', 'batch', 'event'] as const
export type WebhookKind = (typeof WEBHOOK_KINDS)[number]

export const WEBHOOK_STATUSES = ['pending', 'success', 'failed'] as const
export type WebhookStatus = (typeof WEBHOOK_STATUSES)[number]

/** The name of a destination's protocol. The registry of the worker (activities/destinations) lists them all. */
export type Protocol = string

/** Why a delivery or an attempt did not succeed: the same words in rows, answers and Temporal's failure types. */
export const DELIVERY_CODES = [
  'DESTINATION_UNAVAILABLE',
  'TIMEOUT',
  'THROTTLED',
  'REJECTED',
  'UNAUTHORIZED',
  'MISCONFIGURED',
  'EGRESS_DENIED',
  'DESTINATION_DISABLED',
  'DESTINATION_DELETED',
  'TRANSFORMATION_FAILED',
  'WORKER_LOST',
  'EXPIRED',
  'CANCELLED',
  'UNEXPECTED',
] as const
export type DeliveryCode = (typeof DELIVERY_CODES)[number]

/** Events sent to a tenant's `event_url`. SQL counts `deliveries.failed` (count_failed_deliveries). */
export const EVENT_TYPES = [
  'destination.disabled',
  'deliveries.failed',
  'distributions.failed',
  'schedule.failing',
  'schedule.missed',
] as const
export type EventType = (typeof EVENT_TYPES)[number]

/** Rights of an API key or token, weakest first; `platform` covers all tenants. */
export const ROLES = ['viewer', 'operator', 'admin', 'platform'] as const
export type Role = (typeof ROLES)[number]

export const RULE_TYPES = ['routing', 'filtering', 'transformation', 'prioritization'] as const
export type RuleType = (typeof RULE_TYPES)[number]
