// Builds a JSON document from its bytes, or only the wanted parts of it, which costs one scan and almost no memory even for
// megabytes. Numbers are created from their text, so that none loses a digit.
import { EACH, type Step } from './paths.ts'
import { JsonScanner, TOKEN } from './scan.ts'
import { inSlices } from './time-slices.ts'

/** `N` is the type of numbers. */
export type Tree<N> = null | boolean | string | N | Tree<N>[] | { [key: string]: Tree<N> }

/** The wanted parts of a value. */
export interface Wanted {
  /** All of it; otherwise only the parts at the steps, or the value itself if it is neither an object nor a list. */
  whole: boolean
  steps: Map<Step, Wanted>
  /** Lengths in bytes of the keys among the steps, so that most other keys need not be decoded. */
  lengths: Set<number>
}

export const EVERYTHING: Wanted = { whole: true, steps: new Map(), lengths: new Set() }

/** The parts at these paths; with `whole` false, only scalar values. */
export function wantedParts(paths: Iterable<readonly Step[]>, whole = true): Wanted {
  const root = nothing()
  for (const path of paths) {
    let at = root
    for (const step of path) at = stepInto(at, step)
    at.whole = whole
  }
  spreadEach(root)
  return root
}

function nothing(): Wanted {
  return { whole: false, steps: new Map(), lengths: new Set() }
}

function stepInto(from: Wanted, step: Step): Wanted {
  let next = from.steps.get(step)
  if (!next) {
    next = nothing()
    from.steps.set(step, next)
    if (typeof step === 'string') from.lengths.add(Buffer.byteLength(step))
  }
  return next
}

/** The parts wanted of each element (`[*]`) are also wanted of an element that is named by its position. */
function spreadEach({ steps }: Wanted): void {
  const each = steps.get(EACH)
  for (const [step, wanted] of steps) {
    if (each && typeof step === 'number') absorb(wanted, each)
    spreadEach(wanted)
  }
}

function absorb(into: Wanted, from: Wanted): void {
  into.whole ||= from.whole
  for (const [step, wanted] of from.steps) absorb(stepInto(into, step), wanted)
}

/** The wanted parts of the document have more values than may be built. */
export class TooManyValues extends Error {
  constructor(most: number) {
    super(`has more than ${most} values at the paths of the rules`)
  }
}

export interface TreeOptions<N> {
  number: (text: string) => N
  wanted?: Wanted
  /** Values that may be built. */
  most?: number
}

/**
 * Unwanted parts are left out. If a key occurs twice, the last one counts, as in PostgreSQL's jsonb.
 * @throws JsonFault if the bytes are not JSON; TooManyValues
 */
export function readTree<N>(bytes: Buffer, options: TreeOptions<N>): Tree<N> | undefined {
  const reader = new TreeReader(bytes, options)
  while (reader.next()) {}
  return reader.root
}

/** The same for large documents: it yields the event loop to other work at short intervals. */
export async function readTreeInSlices<N>(bytes: Buffer, options: TreeOptions<N>): Promise<Tree<N> | undefined> {
  const reader = new TreeReader(bytes, options)
  await inSlices(reader)
  return reader.root
}

type Container<N> = Tree<N>[] | { [key: string]: Tree<N> }

interface Level<N> {
  container: Container<N>
  wanted: Wanted
  /** The key of the next value, and its wanted parts. */
  key: string
  next: Wanted | undefined
  /** Position in an array. */
  index: number
}

/** Reads token by token, without recursion, so that the depth does not matter. */
export class TreeReader<N> {
  root: Tree<N> | undefined
  private readonly bytes: Buffer
  private readonly scanner: JsonScanner
  private readonly number: (text: string) => N
  private readonly wanted: Wanted
  private readonly most: number
  private readonly levels: Level<N>[] = []
  /** The innermost level. */
  private top: Level<N> | undefined
  /** The number of open containers inside an unwanted value. */
  private skipped = 0
  private values = 0

  constructor(bytes: Buffer, { number, wanted = EVERYTHING, most = Number.POSITIVE_INFINITY }: TreeOptions<N>) {
    this.bytes = bytes
    this.number = number
    this.wanted = wanted
    this.most = most
    this.scanner = new JsonScanner(bytes)
  }

  get position(): number {
    return this.scanner.end
  }

  /** Reads one token; false at the end. */
  next(): boolean {
    const { scanner } = this
    const token = scanner.next()
    if (token === TOKEN.end) return false
    const opens = token === TOKEN.openObject || token === TOKEN.openArray
    const closes = token === TOKEN.closeObject || token === TOKEN.closeArray
    if (this.skipped > 0) this.skipped += opens ? 1 : closes ? -1 : 0
    else if (closes) {
      this.levels.pop()
      this.top = this.levels[this.levels.length - 1]
    } else if (token === TOKEN.key) this.key(this.top!)
    else this.value(token, opens)
    return true
  }

  private key(level: Level<N>): void {
    const { scanner } = this
    const { wanted } = level
    if (!wanted.whole && !scanner.escaped && !wanted.lengths.has(scanner.end - scanner.start - 2)) {
      level.next = undefined
      return
    }
    level.key = scanner.text()
    level.next = wanted.whole ? EVERYTHING : wanted.steps.get(level.key)
  }

  private value(token: number, opens: boolean): void {
    const { top } = this
    const wanted = top ? this.ofNext(top) : this.wanted
    if (!wanted || (opens && !wanted.whole && wanted.steps.size === 0)) {
      if (opens) this.skipped = 1
      // It replaces an earlier value of the same key.
      if (wanted && top && !Array.isArray(top.container)) delete top.container[top.key]
      return
    }
    if (!opens) {
      this.put(top, this.single(token))
      return
    }
    const container: Container<N> = token === TOKEN.openObject ? {} : []
    this.put(top, container)
    this.top = { container, wanted, key: '', next: undefined, index: -1 }
    this.levels.push(this.top)
  }

  private ofNext(level: Level<N>): Wanted | undefined {
    if (!Array.isArray(level.container)) return level.next
    level.index += 1
    const { wanted, index } = level
    return wanted.whole ? EVERYTHING : (wanted.steps.get(index) ?? wanted.steps.get(EACH))
  }

  private single(token: number): Tree<N> {
    const { scanner } = this
    if (token === TOKEN.string) return scanner.text()
    if (token === TOKEN.number) return this.number(this.bytes.toString('latin1', scanner.start, scanner.end))
    return token === TOKEN.null ? null : token === TOKEN.true
  }

  private put(level: Level<N> | undefined, value: Tree<N>): void {
    this.values += 1
    if (this.values > this.most) throw new TooManyValues(this.most)
    if (!level) this.root = value
    else if (!Array.isArray(level.container)) setKey(level.container, level.key, value)
    else if (level.index === level.container.length) level.container.push(value)
    else level.container[level.index] = value
  }
}

/** The element or own field of a value; undefined if there is none. An exact number is an object too, but has no fields. */
export function childAt<N>(value: Tree<N> | undefined, step: Step): Tree<N> | undefined {
  if (Array.isArray(value)) return typeof step === 'number' ? value[step] : undefined
  if (typeof value !== 'object' || value === null || typeof step !== 'string') return undefined
  if (Object.getPrototypeOf(value) !== Object.prototype || !Object.hasOwn(value, step)) return undefined
  return (value as { [key: string]: Tree<N> })[step]
}

/** An assignment to `__proto__` would change what the object inherits from. */
export function setKey<T>(container: { [key: string]: T }, key: string, value: T): void {
  if (key !== '__proto__') container[key] = value
  else Object.defineProperty(container, key, { value, enumerable: true, configurable: true, writable: true })
}
