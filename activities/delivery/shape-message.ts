// The body of a message: the accepted bytes, or the result of the delivery's shapes. It is the same for every attempt
// with the same configuration, so that a receiver can recognise a repeat.
import { jobId } from '../../db/distributions/job-id.ts'
import { UnsealError } from '../../db/secrets.ts'
import type { DeliverInput } from '../../workflows/messages.ts'
import type { ActivityDeps } from '../deps.ts'
import type { Message } from '../destinations/destination.ts'
import { DeliveryError } from '../destinations/errors.ts'
import { shapes } from '../shaping/config.ts'
import { withOpenSalts } from '../shaping/salts.ts'
import { ShapingError } from '../shaping/shaping-error.ts'
import type { Opened } from './open.ts'

export type Content = Pick<Message, 'body' | 'content_type' | 'source'>

/**
 * The rule's shape comes first, then the destination's own.
 * @throws DeliveryError TRANSFORMATION_FAILED, which is final, or WORKER_LOST when neither shape nor payload is the cause
 */
export async function messageBody(
  deps: Pick<ActivityDeps, 'shaper' | 'sealer'>,
  input: DeliverInput,
  { delivery, payload }: Pick<Opened, 'delivery' | 'payload'>,
  signal: AbortSignal,
): Promise<Content> {
  const configured = [delivery.rule_shape, delivery.transform_config].filter(shapes)
  if (configured.length === 0) return { body: payload, content_type: delivery.content_type }
  const words = {
    tenant_id: input.tenant_id,
    distribution_id: input.distribution_id,
    delivery_id: delivery.delivery_id,
    data_type: delivery.data_type,
    accepted_at: acceptedAt(input.distribution_id),
  }
  try {
    const opened = configured.map((shape) => withOpenSalts(deps.sealer, input.tenant_id, shape))
    const shaped = await deps.shaper.shape(input.tenant_id, opened, payload, words, signal)
    return { ...shaped, source: payload }
  } catch (error) {
    if (signal.aborted) throw error
    if (error instanceof ShapingError) {
      throw new DeliveryError('TRANSFORMATION_FAILED', `${error.step}: ${error.message}`)
    }
    if (error instanceof UnsealError) {
      throw new DeliveryError('MISCONFIGURED', 'The salt of a mask cannot be decrypted', { cause: error })
    }
    const message = 'The process that shapes the payload was lost; nothing was sent'
    throw new DeliveryError('WORKER_LOST', message, { cause: error })
  }
}

/** The metadata of the attempt's row about shaping. */
export function shapingMetadata({ body, content_type, source }: Content): Record<string, unknown> {
  return source === undefined ? {} : { shaped: { content_type, bytes: body.length } }
}

/** A distribution's id is a UUIDv7: its first 48 bits are the time at which it was accepted, in milliseconds. */
function acceptedAt(distributionId: string): Date {
  const uuid = jobId(distributionId)
  return new Date(Number.parseInt(uuid.slice(0, 8) + uuid.slice(9, 13), 16))
}
