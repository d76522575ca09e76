// Names in Temporal, for the API, the worker, the workflows and the tests.

import type { ResumeRef } from '../db/distributions/resume.ts'
import type { JobStatus, Priority } from '../db/states.ts'
import type { About, BatchRef, DistributionRef, ScheduleRef, WebhookRef } from './messages.ts'

/** The queue of all workflows, and of the activities plan, deliver, record and finish. */
export const MAIN_QUEUE = 'distributor'

/** The queue of other activities (webhooks, probes, the sweep, batches), which must not take the slots of deliveries. */
export function backgroundQueue(mainQueue: string): string {
  return `${mainQueue}-background`
}

export function distributionWorkflowId(ref: DistributionRef): string {
  return `distribution/${ref.tenant_id}/${ref.distribution_id}`
}

/** The distribution of a run; undefined if the id is not of this form. */
export function refOfWorkflowId(id: string): DistributionRef | undefined {
  const [, tenant_id, distribution_id] = /^distribution\/([^/]+)\/(dist_[^/]+)$/.exec(id) ?? []
  return tenant_id && distribution_id ? { tenant_id, distribution_id } : undefined
}

export function webhookWorkflowId(ref: WebhookRef): string {
  return `webhook/${ref.tenant_id}/${ref.webhook_id}`
}

export function batchWorkflowId(ref: BatchRef): string {
  return `batch/${ref.tenant_id}/${ref.batch_id}`
}

/** For the schedules that check destinations, and the workflows that they start. */
export const HEALTH_CHECK_PREFIX = 'health/'

export function healthCheckScheduleId(check: { tenant_id: string; destination_id: string }): string {
  return `${HEALTH_CHECK_PREFIX}${check.tenant_id}/${check.destination_id}`
}

export function resumeWorkflowId({ tenant_id, target, changed_at }: ResumeRef): string {
  return `resume/${tenant_id}/${target ?? ''}${changed_at ? `/${changed_at}` : ''}`
}

/** For the schedule, and the workflows that it starts. */
export function scheduleIdOf(ref: ScheduleRef): string {
  return `schedule/${ref.tenant_id}/${ref.schedule_id}`
}

export const SWEEP_SCHEDULE_ID = 'distributor/sweep'
export const MAINTENANCE_SCHEDULE_ID = 'distributor/maintenance'

/**
 * The weight of each priority while more deliveries wait than the workers can carry out. Temporal's fairness applies it
 * to all pairs of tenant and priority, so that none of them waits for ever.
 */
export const PRIORITY_WEIGHTS: Record<Priority, number> = { critical: 10, high: 3, normal: 1, low: 0.1 }
/** One level for all: Temporal's levels are strict, so a steady load of a higher level would starve a lower one. */
const ONE_LEVEL = 3

export interface QueuePriority {
  priorityKey: number
  fairnessKey: string
  fairnessWeight?: number
}

/**
 * How Temporal orders the tasks of a tenant and a priority. Without `fairness` (not supported by the server, or turned
 * off) by strict levels. The key of `normal` is the tenant id, which batches and schedules use too.
 */
export function queuePriority(tenantId: string, priority: Priority, fairness: boolean): QueuePriority {
  if (!fairness) return { priorityKey: PRIORITY_KEYS[priority], fairnessKey: tenantId }
  return {
    priorityKey: ONE_LEVEL,
    // A tenant id has at most 50 characters, and Temporal accepts 64 bytes.
    fairnessKey: priority === 'normal' ? tenantId : `${tenantId}/${priority}`,
    fairnessWeight: PRIORITY_WEIGHTS[priority],
  }
}

/** Temporal's priority keys, from 1 (first) to 5 (last). */
export const PRIORITY_KEYS: Record<Priority, number> = { critical: 1, high: 2, normal: 3, low: 5 }

/** All keywords; `DistributionStatus` is `processing` from the start and upserted once, at the end of a run. */
export const SEARCH_ATTRIBUTES = ['TenantId', 'DataType', 'DistributionPriority', 'DistributionStatus'] as const
export type SearchAttribute = (typeof SEARCH_ATTRIBUTES)[number]

/** The values of a run's search attributes at its start, without those that the namespace does not have. */
export function searchAttributeValues(
  ref: DistributionRef,
  about: About,
  existing: ReadonlySet<SearchAttribute>,
): [SearchAttribute, string][] {
  const values: [SearchAttribute, string][] = [
    ['TenantId', ref.tenant_id],
    ['DataType', about.data_type],
    ['DistributionPriority', about.priority],
    ['DistributionStatus', 'processing' satisfies JobStatus],
  ]
  return values.filter(([name]) => existing.has(name))
}
