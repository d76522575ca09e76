// Reads single values from a payload without parsing the rest into objects. Numbers keep all their digits.
import { createPathParser } from '../../document/paths.ts'
import { JsonFault } from '../../document/scan.ts'
import { inSlices } from '../../document/time-slices.ts'
import { type Tree, TreeReader, type Wanted, wantedParts } from '../../document/tree.ts'

/** The value at each path: undefined if there is no text, number or boolean. */
type Values = Map<string, string | undefined>

/** The values read from each payload, kept as long as the payload itself. */
const read = new WeakMap<Buffer, Values>()

const parse = createPathParser({ notInKey: '.[\\]', positionsAreKeys: true })

/** `payload.items[0].id` → `items`, `0`, `id`; a number also selects an element of an array. Undefined if it is not a path. */
export function parsePayloadPath(path: string): string[] | undefined {
  const steps = parse(path, 'payload'.length)
  return Array.isArray(steps) && steps.length > 0 ? (steps as string[]) : undefined
}

/**
 * Returns the texts, numbers and booleans at the given paths (`payload.customer.id`, `payload.items[0].id`), without those
 * that are missing, null, an object or an array. Numbers have the digits that were sent: a 64-bit integer loses none, and
 * `1.0` stays `1.0`. If a key occurs twice, the last one counts, as in PostgreSQL's jsonb.
 */
export function readPayload(body: Buffer, paths: readonly string[]): Map<string, string> {
  const reading = begin(body, paths)
  if (reading) {
    try {
      while (reading.reader.next()) {}
    } catch (error) {
      ignoreFault(error)
    }
    reading.keep()
  }
  const known = read.get(body)
  return new Map(
    paths.flatMap((path): [string, string][] => {
      const value = known?.get(path)
      return value === undefined ? [] : [[path, value]]
    }),
  )
}

/** Reads the values for a later `readPayload`, and lets other work run in between if the payload is large. */
export async function readAhead(body: Buffer, paths: readonly string[]): Promise<void> {
  const reading = begin(body, paths)
  if (!reading) return
  await inSlices(reading.reader).catch(ignoreFault)
  reading.keep()
}

/** A shaped body need not be JSON. The values before the fault were found. */
function ignoreFault(error: unknown): void {
  if (!(error instanceof JsonFault)) throw error
}

function begin(body: Buffer, paths: readonly string[]) {
  const known = read.get(body) ?? new Map<string, string | undefined>()
  const unread = paths.filter((path) => !known.has(path)).map((path) => ({ path, steps: parsePayloadPath(path) ?? [] }))
  if (unread.length === 0) return undefined
  const wanted = wantedParts(
    unread.map(({ steps }) => steps),
    false,
  )
  alsoAsPositions(wanted)
  const reader = new TreeReader(body, { number: (text) => text, wanted })
  return {
    reader,
    keep() {
      for (const { path, steps } of unread) known.set(path, textAt(reader.root, steps))
      read.set(body, known)
    },
  }
}

/** `0` selects the key `"0"` of an object and the first element of a list. */
function alsoAsPositions({ steps }: Wanted): void {
  for (const [step, below] of [...steps]) {
    alsoAsPositions(below)
    if (isPosition(String(step))) steps.set(Number(step), below)
  }
}

function isPosition(step: string): boolean {
  return String(Number(step)) === step
}

function textAt(root: Tree<string> | undefined, steps: readonly string[]): string | undefined {
  let at: Tree<string> | undefined = root
  for (const step of steps) {
    if (Array.isArray(at)) at = isPosition(step) ? at[Number(step)] : undefined
    else if (typeof at === 'object' && at !== null) at = Object.hasOwn(at, step) ? at[step] : undefined
    else return undefined
  }
  if (typeof at === 'boolean') return String(at)
  return typeof at === 'string' ? at : undefined
}
