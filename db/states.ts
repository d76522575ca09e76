// Every state and code that a row may hold, named once. The zod enums and the types derive from these.

/** States of a distribution job (seed, distribution_jobs). */
export const JOB_STATUSES = ['pending', 'processing', 'completed', 'failed', 'cancelled'] as const
export type JobStatus = (typeof JOB_STATUSES)[number]
export const FINAL_JOB_STATUSES = ['completed', 'failed', 'cancelled'] as const satisfies readonly JobStatus[]

/** Priorities of a distribution job (seed, distribution_jobs). */
export const PRIORITIES = ['low', 'normal', 'high', 'critical'] as const
export type Priority = (typeof PRIORITIES)[number]

/** States of a batch: those of its distributions, taken together. */
export const BATCH_STATUSES = ['processing', 'completed', 'failed', 'cancelled'] as const
export type BatchStatus = (typeof BATCH_STATUSES)[number]

/** States of one distribution within a batch; `skipped`: there was nothing to retry. */
export const BATCH_ITEM_STATUSES = [...JOB_STATUSES, 'skipped'] as const
export type BatchItemStatus = (typeof BATCH_ITEM_STATUSES)[number]

/** What a recurring distribution does when the one before is not final yet. */
export const OVERLAPS = ['skip', 'buffer_one', 'buffer_all', 'allow_all'] as const
export type Overlap = (typeof OVERLAPS)[number]

/** States of one destination's delivery within a job. */
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
export const FINAL_DELIVERY_STATUSES = [
  'success',
  'failed',
  'skipped',
  'cancelled',
] as const satisfies readonly DeliveryStatus[]

/** States of one attempt (seed, distribution_attempts). */
export const ATTEMPT_STATUSES = ['pending', 'processing', 'success', 'failed', 'retry', 'cancelled'] as const
export type AttemptStatus = (typeof ATTEMPT_STATUSES)[number]

/** States of a registered destination (seed, destinations). */
/** Of one that is not `active` nothing is sent, and its keys are refused. */
export const TENANT_STATUSES = ['active', 'suspended', 'inactive'] as const
export type TenantStatus = (typeof TENANT_STATUSES)[number]

export const DESTINATION_STATUSES = ['active', 'inactive', 'maintenance', 'deprecated'] as const
export type DestinationStatus = (typeof DESTINATION_STATUSES)[number]

/** Protocols of a destination (seed, destinations). */
export const PROTOCOLS = ['REST', 'AMQP', 'JDBC', 'S3', 'SFTP', 'EMAIL'] as const
export type Protocol = (typeof PROTOCOLS)[number]

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

/** What an operator is told at the tenant's `event_url`. `deliveries.failed` is counted in SQL (count_failed_deliveries). */
export const EVENT_TYPES = [
  'destination.disabled',
  'deliveries.failed',
  'distributions.failed',
  'schedule.failing',
  'schedule.missed',
] as const
export type EventType = (typeof EVENT_TYPES)[number]

/** Rights of an API key or token, weakest first; `platform` reaches over all tenants. */
export const ROLES = ['viewer', 'operator', 'admin', 'platform'] as const
export type Role = (typeof ROLES)[number]

export const RULE_TYPES = ['routing', 'filtering', 'transformation', 'prioritization'] as const
export type RuleType = (typeof RULE_TYPES)[number]
