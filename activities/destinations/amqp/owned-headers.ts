// Headers of AMQP messages that no configuration may set.
import { OWNED } from '../template/owned-names.ts'

/** Set by us for every message. */
const AMQP = new Set(['tenant_id', 'distribution_id', 'data_type', 'attempt_number'])
/** Set by the broker, which reads them for dead-lettering, redelivery and federation. */
const AMQP_BROKER = /^x-(death|first-death-.*|last-death-.*|received-from|delivery-count|acquired-count)$/

/** The problem with the name of a message header; undefined if it is valid. */
export function amqpHeaderProblem(name: string): string | undefined {
  const lower = name.toLowerCase()
  if (AMQP.has(lower)) return OWNED
  if (AMQP_BROKER.test(lower)) return 'is written by the broker'
  // RabbitMQ reads these two as additional routing keys, which the payload must not choose.
  if (lower === 'cc' || lower === 'bcc') return 'would send copies to other queues; use another destination for them'
  // The delayed-message exchange returns a message that it delays as unroutable, so each attempt would add a copy.
  if (lower === 'x-delay') {
    return 'makes a delayed exchange return the message although it accepted it, so that it is sent repeatedly; use "deliver_at"'
  }
  return undefined
}
