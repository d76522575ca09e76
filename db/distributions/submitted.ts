// The destinations of a submission as stored in its row. The API and the SQL procedure write the same form; a row that
// was written by hand can contain anything.
import type { Protocol } from '../states.ts'

/** One entry of `distribution_jobs.destinations`: the name of a registered destination, or a whole inline one. */
export type SubmittedDestination =
  | { name: string; protocol?: undefined }
  | { name: string; protocol: Protocol; configuration: Record<string, unknown>; max_retries?: number | null }

const NAME = /^[a-zA-Z0-9_-]{1,100}$/
/** The most entries that a statement reads, whatever the row contains. */
export const MOST_STORED = 1000

/**
 * Reads the column in the form that the procedure stores. It also accepts an entry that is only a name, and an inline
 * destination with flat fields. `issue` says why the entries cannot be delivered.
 * @param protocols the protocols that this program has
 */
export function readSubmitted(
  value: unknown,
  protocols: readonly Protocol[],
): { destinations: SubmittedDestination[] } | { issue: string } {
  if (!Array.isArray(value)) return { issue: `destinations must be a list of at most ${MOST_STORED} entries` }
  const names = new Set<string>()
  const destinations: SubmittedDestination[] = []
  for (const [at, entry] of value.entries()) {
    const read = readEntry(entry, protocols)
    if (typeof read === 'string') return { issue: `destinations[${at}] ${read}` }
    if (names.has(read.name)) return { issue: `destinations[${at}] has the same name as an entry before it` }
    names.add(read.name)
    destinations.push(read)
  }
  return { destinations }
}

function readEntry(entry: unknown, protocols: readonly Protocol[]): SubmittedDestination | string {
  if (typeof entry === 'string') return NAME.test(entry) ? { name: entry } : 'is not the name of a destination'
  if (!isObject(entry)) return 'must be the name of a registered destination or an object'
  const { name, protocol, max_retries = null, configuration, ...rest } = entry
  if (typeof name !== 'string' || !NAME.test(name)) return 'has no name of 1 to 100 letters, digits, _ or -'
  if (protocol === undefined) {
    const flat = configuration !== undefined || Object.keys(rest).length > 0
    return flat ? 'is an inline destination without a protocol' : { name }
  }
  const known = protocols.find((one) => one === protocol)
  if (!known) return `must have a protocol of ${protocols.join(', ')}`
  const retries =
    typeof max_retries === 'number' && Number.isInteger(max_retries) && max_retries >= 0 && max_retries <= 50
  if (max_retries !== null && !retries) return 'must have max_retries from 0 to 50'
  if (configuration !== undefined && !isObject(configuration)) return 'must have an object as its configuration'
  return { name, protocol: known, configuration: configuration ?? rest, max_retries: max_retries as number | null }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
