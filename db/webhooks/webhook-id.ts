// The public id of a webhook, which receivers see as `webhook-id`: the same on every attempt, and a new one each time that
// a distribution ends.
import type { WebhookKind } from '../states.ts'

/** Together with the tenant, the key of the row. */
export interface WebhookKey {
  kind: WebhookKind
  /** The id of the distribution, the batch or the event. */
  subject_id: string
  /** The round of the distribution; otherwise 1. */
  round: number
}

const PREFIX: Record<WebhookKind, string> = { distribution: 'dist', batch: 'batch', event: 'event' }
const KIND = new Map(Object.entries(PREFIX).map(([kind, prefix]) => [prefix, kind as WebhookKind]))
const FORM = /^([a-z]+)_([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})(?:\.(\d{1,9}))?$/

export function webhookId(key: WebhookKey): string {
  return key.kind === 'distribution' ? `${publicSubjectId(key)}.${key.round}` : publicSubjectId(key)
}

/** The id that the API gives to the distribution, the batch or the event. */
export function publicSubjectId({ kind, subject_id }: Pick<WebhookKey, 'kind' | 'subject_id'>): string {
  return `${PREFIX[kind]}_${subject_id}`
}

const RESOURCE_TYPES: Record<WebhookKind, string> = {
  distribution: 'distribution_job',
  batch: 'batch',
  event: 'operator_event',
}

export function auditedResource({ kind, subject_id }: WebhookKey): { resource_type: string; resource_id: string } {
  return { resource_type: RESOURCE_TYPES[kind], resource_id: subject_id }
}

/** Null when the text cannot be the id of a webhook. */
export function parseWebhookId(text: string): WebhookKey | null {
  const [, prefix = '', subject_id = '', round = '1'] = FORM.exec(text) ?? []
  const kind = KIND.get(prefix)
  if (!kind) return null
  const key = { kind, subject_id, round: Number(round) }
  return webhookId(key) === text ? key : null
}
