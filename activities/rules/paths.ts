// The paths of conditions: `payload.customer.id`, `payload.items[0].sku`, `payload.items[*].sku`, `metadata["odd key"]`,
// `data_type`, `time.hour`.
import { distance } from 'fastest-levenshtein'
import { createPathParser, EACH, type Step } from '../document/paths.ts'
import { childAt, TooManyValues, type Wanted } from '../document/tree.ts'
import { type Exact, readExactInSlices } from './exact.ts'
import { type Moment, TIME_PARTS, type TimePart } from './time.ts'

export const ROOTS = ['payload', 'metadata', 'data_type', 'tenant_id', 'priority', 'time'] as const
export type Root = (typeof ROOTS)[number]

export interface Path {
  text: string
  root: Root
  steps: Step[]
  /** The path has a `[*]`, so it may have several values. */
  many: boolean
}

export interface Facts {
  /** Only the parts that the rules use. */
  payload: Exact | undefined
  /** Why the payload was not read. */
  unread?: string
  metadata: Exact | undefined
  data_type: string
  tenant_id: string
  priority: string
  time: Moment
}

const MAX_LENGTH = 500
const MAX_STEPS = 50
const parse = createPathParser({ notInKey: '.[\\]"\\s', each: true, quoted: true })

export function readPath(text: string): Path | { issue: string } {
  if (text.length > MAX_LENGTH) return { issue: `must have at most ${MAX_LENGTH} characters` }
  const name = /^[^.[]*/.exec(text)![0]
  const root = ROOTS.find((one) => one === name)
  if (!root) return { issue: `is not a known path${nearest(text, name)}` }
  const steps = parse(text, name.length)
  if (!Array.isArray(steps)) {
    const rest = JSON.stringify(text.slice(steps.at, steps.at + 20))
    return { issue: `cannot be read at ${rest}; write payload.items[0].id, payload.items[*].id or payload["odd key"]` }
  }
  if (steps.length > MAX_STEPS) return { issue: `must have at most ${MAX_STEPS} steps` }
  if (root === 'time') {
    if (steps.length === 1 && (TIME_PARTS as readonly unknown[]).includes(steps[0]))
      return { text, root, steps, many: false }
    return { issue: `is not a known time: ${TIME_PARTS.map((part) => `time.${part}`).join(', ')}` }
  }
  if (root !== 'payload' && root !== 'metadata' && steps.length > 0) return { issue: `has nothing below ${root}` }
  return { text, root, steps, many: steps.includes(EACH) }
}

function nearest(text: string, name: string): string {
  const near = [...ROOTS].toSorted((a, b) => distance(name, a) - distance(name, b))[0]!
  const close = distance(name, near) <= Math.max(2, Math.floor(near.length / 2))
  if (close) return `, did you mean ${JSON.stringify(near + text.slice(name.length))}?`
  return `; it begins with ${ROOTS.join(', ')}`
}

/** The value at the path; undefined when there is none. */
export function follow(path: Path, facts: Facts, timeZone: string): Exact | undefined {
  if (path.root === 'time') return facts.time.part(path.steps[0] as TimePart, timeZone)
  return descend(facts[path.root], path.steps, 0, path.steps.length)
}

/** The callbacks of a walk over list elements. */
interface Walk {
  /** Called before each element; false ends the walk without a result. */
  spend: () => boolean
  /** Whether other work should run now. */
  isDue: () => boolean
  holds: (actual: Exact | undefined, indexes: readonly number[]) => boolean
}

/**
 * Whether `holds` is true for the value at the path in one of the elements, in their order. A value that is not a list has no
 * elements. Yields when `isDue` is true.
 */
export function someElement(path: Path, facts: Facts, walk: Walk): Generator<void, boolean | undefined> {
  return inEach(path.root === 'metadata' ? facts.metadata : facts.payload, path.steps, 0, [], walk)
}

function* inEach(
  start: Exact | undefined,
  steps: readonly Step[],
  from: number,
  indexes: number[],
  walk: Walk,
): Generator<void, boolean | undefined> {
  const each = steps.indexOf(EACH, from)
  const list = descend(start, steps, from, each)
  if (!Array.isArray(list)) return false
  const isLast = !steps.includes(EACH, each + 1)
  for (let index = 0; index < list.length; index++) {
    if (!walk.spend()) return undefined
    if (walk.isDue()) yield
    indexes.push(index)
    const found = isLast
      ? walk.holds(descend(list[index], steps, each + 1, steps.length), indexes)
      : yield* inEach(list[index], steps, each + 1, indexes, walk)
    if (found !== false) return found
    indexes.pop()
  }
  return false
}

function descend(start: Exact | undefined, steps: readonly Step[], from: number, to: number): Exact | undefined {
  let at = start
  for (let i = from; i < to; i++) at = childAt(at, steps[i]!)
  return at
}

/** The path to one of the elements: `payload.items[2].sku`. */
export function pathOfElement(path: Path, indexes: readonly number[]): string {
  let next = 0
  // A quoted key may contain the same three characters.
  return path.text.replace(/"(?:[^"\\]|\\.)*"|\[\*\]/g, (part) => (part === '[*]' ? `[${indexes[next++]}]` : part))
}

/** Values that one plan may build, some 60 MB, because several plans run at the same time. */
const MAX_VALUES = 500_000

/** The parts of the payload that the rules use. */
export async function payloadFacts(payload: Buffer, wanted: Wanted): Promise<Pick<Facts, 'payload' | 'unread'>> {
  try {
    return { payload: await readExactInSlices(payload, wanted, MAX_VALUES) }
  } catch (error) {
    if (error instanceof TooManyValues) return { payload: undefined, unread: error.message }
    throw error
  }
}
