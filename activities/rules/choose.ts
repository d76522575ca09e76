// Which destinations a distribution goes to. Pure; for now every destination that the submission names. Routing rules
// add to the answer, and change nothing of its shape.
import type { KnownDestination, NewDelivery, SubmittedDestination } from '../../db/plan.ts'

/** The deliveries of a plan, in the order of the submission. `known` holds the registered destinations by name. */
export function choose(
  submitted: readonly SubmittedDestination[],
  known: ReadonlyMap<string, KnownDestination>,
): NewDelivery[] {
  return submitted.map((destination) => {
    if (destination.protocol !== undefined) {
      return {
        ...PENDING,
        destination_name: destination.name,
        protocol: destination.protocol,
        destination_id: null,
        configuration: destination.configuration,
        max_retries: destination.max_retries ?? null,
      }
    }
    const registered = known.get(destination.name)
    const delivery = {
      ...PENDING,
      destination_name: destination.name,
      protocol: registered?.protocol ?? ('REST' as const),
      destination_id: registered?.id ?? null,
      configuration: null,
      max_retries: null,
    }
    return registered && !registered.deleted ? delivery : { ...delivery, ...DELETED }
  })
}

const PENDING = { status: 'pending', error_code: null, error_message: null } as const

/** Deleted between its acceptance and its plan. */
const DELETED = {
  status: 'failed',
  error_code: 'DESTINATION_DELETED',
  error_message: 'The destination was deleted before it was served',
} as const
