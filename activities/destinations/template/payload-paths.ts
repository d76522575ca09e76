// Reads single values out of a payload without building the rest of it, and with every digit of its numbers.
import { createPathParser } from '../../document/paths.ts'
import { JsonFault } from '../../document/scan.ts'
import { type Tree, TreeReader, type Wanted, wantedParts } from '../../document/tree.ts'
import { inTurns } from '../../document/turns.ts'

/** The values of paths: undefined for one that finds no text, number or boolean. */
type Values = Map<string, string | undefined>

/** What was read of a payload, for as long as the payload itself is held. */
const read = new WeakMap<Buffer, Values>()

const parse = createPathParser({ notInKey: '.[\\]', positionsAreKeys: true })

/** `payload.items[0].id` → `items`, `0`, `id`; a number also finds the element of an array. Undefined for what is no path. */
export function parsePayloadPath(path: string): string[] | undefined {
  const steps = parse(path, 'payload'.length)
  return Array.isArray(steps) && steps.length > 0 ? (steps as string[]) : undefined
}

/**
 * Text, numbers and booleans at the given paths (`payload.customer.id`, `payload.items[0].id`); what is missing, null,
 * an object or an array is not in the answer. Numbers are the digits that were sent: a 64-bit integer loses none, and
 * `1.0` stays `1.0`. Of a key that occurs twice the last one counts, as in PostgreSQL's jsonb.
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

/** Reads them ahead, so that `readPayload` need not: with a large payload other work has its turn meanwhile. */
export async function readAhead(body: Buffer, paths: readonly string[]): Promise<void> {
  const reading = begin(body, paths)
  if (!reading) return
  await inTurns(reading.reader).catch(ignoreFault)
  reading.keep()
}

/** A shape may have made anything of the body; what stands before the fault was found. */
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

/** `0` finds the key `"0"` of an object and the first element of a list. */
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
