// Reads single values out of a payload without parsing the whole of it, and with every digit of its numbers. One walk, that
// knows where it is: what it costs follows from the bytes alone, however deep they nest and however many are asked for.
import { createPathParser } from '../../document/paths.ts'
import { JsonFault, JsonScanner, TOKEN } from '../../document/scan.ts'
import { nextTurn, TURN_BYTES } from '../../document/turns.ts'

/** The values of paths: undefined for one that finds no text, number or boolean. */
type Values = Map<string, string | undefined>

/** What was read of a payload, for as long as the payload itself is held. */
const read = new WeakMap<Buffer, Values>()

/** Steps of paths as a tree: what of them lies below the place at which the walk is. */
interface Branch {
  /** The paths that end here, in all of their spellings. */
  ends: string[]
  below: Map<string, Branch>
  /** By the length of the key in bytes: most keys are told apart by that. */
  lengths: Set<number>
  /** A value was found here or below. */
  found: boolean
}

/**
 * Text, numbers and booleans at the given paths (`payload.customer.id`, `payload.items[0].id`); what is missing, null,
 * an object or an array is not in the answer. Numbers are the digits that were sent: a 64-bit integer loses none, and
 * `1.0` stays `1.0`. Of a key that occurs twice the last one counts, as for PostgreSQL's jsonb.
 */
export function readPayload(body: Buffer, paths: readonly string[]): Map<string, string> {
  const wanted = unread(body, paths)
  if (wanted.length > 0) {
    const walk = new Walk(body, wanted)
    while (walk.next()) {}
    keep(body, walk.values)
  }
  return answer(body, paths)
}

/** Reads them ahead, so that `readPayload` need not: a large payload lets others have their turn meanwhile. */
export async function readAhead(body: Buffer, paths: readonly string[]): Promise<void> {
  const wanted = unread(body, paths)
  if (wanted.length === 0) return
  const walk = new Walk(body, wanted)
  let turn = TURN_BYTES
  while (walk.next()) {
    if (walk.position < turn) continue
    await nextTurn()
    turn = walk.position + TURN_BYTES
  }
  keep(body, walk.values)
}

function unread(body: Buffer, paths: readonly string[]): string[] {
  const known = read.get(body)
  return known ? paths.filter((path) => !known.has(path)) : [...paths]
}

function keep(body: Buffer, values: Values): void {
  const known = read.get(body)
  if (!known) read.set(body, values)
  else for (const [path, value] of values) known.set(path, value)
}

function answer(body: Buffer, paths: readonly string[]): Map<string, string> {
  const known = read.get(body)
  return new Map(
    paths.flatMap((path): [string, string][] => {
      const value = known?.get(path)
      return value === undefined ? [] : [[path, value]]
    }),
  )
}

/** Positions in an array count from 0. */
const BEFORE_FIRST = -1
const IN_OBJECT = -2

class Walk {
  readonly values: Values
  private readonly body: Buffer
  private readonly scanner: JsonScanner
  /** Of each level that paths lead into; deeper ones are skipped. */
  private readonly open: { branch: Branch; index: number }[] = []
  /** What of the paths lies below the value that comes next. */
  private upcoming: Branch | undefined
  /** Levels below the last one that is followed. */
  private skipped = 0

  constructor(body: Buffer, paths: readonly string[]) {
    this.body = body
    this.scanner = new JsonScanner(body)
    this.values = new Map(paths.map((path) => [path, undefined]))
    this.upcoming = treeOf(paths)
  }

  get position(): number {
    return this.scanner.end
  }

  /** False at the end, and where the body is no JSON: a shape may have made anything of it. */
  next(): boolean {
    let token: number
    try {
      token = this.scanner.next()
    } catch (error) {
      if (error instanceof JsonFault) return false
      throw error
    }
    if (token === TOKEN.end) return false
    const opens = token === TOKEN.openObject || token === TOKEN.openArray
    const closes = token === TOKEN.closeObject || token === TOKEN.closeArray
    if (this.skipped > 0) this.skipped += opens ? 1 : closes ? -1 : 0
    else if (closes) this.open.pop()
    else if (token === TOKEN.key) this.upcoming = this.atKey()
    else this.value(token, opens)
    return true
  }

  private atKey(): Branch | undefined {
    const { branch } = this.open.at(-1)!
    const { scanner } = this
    if (!scanner.escaped && !branch.lengths.has(scanner.end - scanner.start - 2)) return undefined
    return branch.below.get(scanner.text())
  }

  private value(token: number, opens: boolean): void {
    const top = this.open.at(-1)
    if (top && top.index >= BEFORE_FIRST) {
      top.index += 1
      this.upcoming = top.branch.below.get(String(top.index))
    }
    const branch = this.upcoming
    this.upcoming = undefined
    if (!branch) {
      if (opens) this.skipped = 1
      return
    }
    // Something new stands at this place: whatever was found there or below it before no longer counts.
    if (branch.found) forget(branch, this.values)
    if (opens) this.open.push({ branch, index: token === TOKEN.openArray ? BEFORE_FIRST : IN_OBJECT })
    else if (token !== TOKEN.null && branch.ends.length > 0) {
      const { scanner } = this
      const text = token === TOKEN.string ? scanner.text() : this.body.toString('latin1', scanner.start, scanner.end)
      for (const path of branch.ends) this.values.set(path, text)
      branch.found = true
      for (let level = this.open.length - 1; level >= 0 && !this.open[level]!.branch.found; level--) {
        this.open[level]!.branch.found = true
      }
    }
  }
}

function treeOf(paths: readonly string[]): Branch {
  const root: Branch = { ends: [], below: new Map(), lengths: new Set(), found: false }
  for (const path of paths) {
    let at = root
    for (const step of parsePayloadPath(path) ?? []) {
      let below = at.below.get(step)
      if (!below) {
        below = { ends: [], below: new Map(), lengths: new Set(), found: false }
        at.below.set(step, below)
        at.lengths.add(Buffer.byteLength(step))
      }
      at = below
    }
    at.ends.push(path)
  }
  return root
}

/** Only what was found: forgetting costs no more than finding did. */
function forget(branch: Branch, values: Values): void {
  branch.found = false
  for (const path of branch.ends) values.set(path, undefined)
  for (const inner of branch.below.values()) if (inner.found) forget(inner, values)
}

const parse = createPathParser({ notInKey: '.[\\]', positionsAreKeys: true })

/** `payload.items[0].id` → `items`, `0`, `id`; a number also finds the element of an array. Undefined for what is no path. */
export function parsePayloadPath(path: string): string[] | undefined {
  const steps = parse(path, 'payload'.length)
  return Array.isArray(steps) && steps.length > 0 ? (steps as string[]) : undefined
}
