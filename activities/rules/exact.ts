// JSON with every digit of its numbers: 64-bit integers and long decimals compare as they were written. Only what is
// asked for is built, so that a payload of megabytes costs one scan and no tree.

import { EACH, type Step } from '../document/paths.ts'
import { JsonScanner, TOKEN } from '../document/scan.ts'
import { createPace, TURN_BYTES } from '../document/turns.ts'

/** A number as it was written. */
export class Digits {
  readonly text: string
  constructor(text: string) {
    this.text = text
  }
  /** Embedded in other JSON it may lose digits; `exactText` loses none. */
  toJSON(): number {
    return Number(this.text)
  }
}

export type Exact = string | boolean | null | Digits | Exact[] | { [key: string]: Exact }

/** The document has more of what is wanted than anybody is to keep. */
export class TooManyValues extends Error {
  constructor(most: number) {
    super(`has more than ${most} values where rules look`)
  }
}

/** Which parts of a document are wanted: `whole`, or the steps below it that are. */
export interface Wanted {
  whole: boolean
  steps: Map<Step, Wanted>
}

export const EVERYTHING: Wanted = { whole: true, steps: new Map() }

/** The parts that these paths lead to. */
export function wantedParts(paths: Iterable<readonly Step[]>): Wanted {
  const root: Wanted = { whole: false, steps: new Map() }
  for (const path of paths) {
    let at = root
    for (const step of path) {
      const next = at.steps.get(step) ?? { whole: false, steps: new Map() }
      at.steps.set(step, next)
      at = next
    }
    at.whole = true
  }
  spreadEach(root)
  return root
}

/** What is wanted of each element is wanted of one that is named by its number, too. */
function spreadEach({ steps }: Wanted): void {
  const each = steps.get(EACH)
  for (const [step, wanted] of steps) {
    if (each && typeof step === 'number') absorb(wanted, each)
    spreadEach(wanted)
  }
}

function absorb(into: Wanted, from: Wanted): void {
  into.whole ||= from.whole
  for (const [step, wanted] of from.steps) {
    const present = into.steps.get(step) ?? { whole: false, steps: new Map() }
    into.steps.set(step, present)
    absorb(present, wanted)
  }
}

type Container = Exact[] | { [key: string]: Exact }

interface Frame {
  container: Container
  wanted: Wanted
  key: string
  /** Position in an array; -1 in an object. */
  index: number
}

/**
 * Reads the wanted parts of valid JSON; what is not wanted is missing from the answer. Of a key that occurs twice the
 * last one counts, as for PostgreSQL's jsonb. No recursion, whatever the depth.
 * @throws TooManyValues as soon as more than `most` would have to be built
 */
export function readExact(
  text: string | Buffer,
  wanted: Wanted = EVERYTHING,
  most = Number.POSITIVE_INFINITY,
): Exact | undefined {
  const reader = new ExactReader(typeof text === 'string' ? Buffer.from(text, 'utf8') : text, wanted, most)
  while (reader.next()) {}
  return reader.root
}

/** The same for what may be megabytes: others have their turn on the event loop meanwhile. */
export async function readExactInTurns(bytes: Buffer, wanted: Wanted, most: number): Promise<Exact | undefined> {
  const reader = new ExactReader(bytes, wanted, most)
  const pace = createPace()
  for (let turn = TURN_BYTES; reader.next(); ) {
    if (reader.position < turn) continue
    await pace()
    turn = reader.position + TURN_BYTES / 8
  }
  return reader.root
}

class ExactReader {
  root: Exact | undefined
  private readonly bytes: Buffer
  private readonly scanner: JsonScanner
  private readonly wanted: Wanted
  private readonly most: number
  private readonly stack: Frame[] = []
  /** Levels below the last one that is wanted. */
  private skipped = 0
  private values = 0

  constructor(bytes: Buffer, wanted: Wanted, most: number) {
    this.bytes = bytes
    this.wanted = wanted
    this.most = most
    this.scanner = new JsonScanner(bytes)
  }

  get position(): number {
    return this.scanner.end
  }

  /** Reads one token; false at the end. */
  next(): boolean {
    const { scanner, stack } = this
    const token = scanner.next()
    if (token === TOKEN.end) return false
    const opens = token === TOKEN.openObject || token === TOKEN.openArray
    const closes = token === TOKEN.closeObject || token === TOKEN.closeArray
    if (this.skipped > 0) this.skipped += opens ? 1 : closes ? -1 : 0
    else if (closes) stack.pop()
    else if (token === TOKEN.key) stack[stack.length - 1]!.key = scanner.text()
    else this.value(token, opens)
    return true
  }

  private value(token: number, opens: boolean): void {
    const at = this.stack[this.stack.length - 1]
    if (at && Array.isArray(at.container)) at.index += 1
    const part = at ? below(at) : this.wanted
    if (!part) {
      if (opens) this.skipped = 1
      // A key that comes again as something that is not followed takes the earlier one's place.
      else if (at && !Array.isArray(at.container)) delete at.container[at.key]
      return
    }
    if (!opens) {
      this.put(at, this.single(token))
      return
    }
    const isObject = token === TOKEN.openObject
    // Without a prototype: a key `__proto__` is a key like any other.
    const container: Container = isObject ? Object.create(null) : []
    this.put(at, container)
    this.stack.push({ container, wanted: part, key: '', index: -1 })
  }

  private single(token: number): Exact {
    const { scanner } = this
    if (token === TOKEN.string) return scanner.text()
    if (token === TOKEN.number) return new Digits(this.bytes.toString('latin1', scanner.start, scanner.end))
    return token === TOKEN.null ? null : token === TOKEN.true
  }

  private put(at: Frame | undefined, value: Exact): void {
    this.values += 1
    if (this.values > this.most) throw new TooManyValues(this.most)
    if (!at) this.root = value
    else if (Array.isArray(at.container)) at.container[at.index] = value
    else at.container[at.key] = value
  }
}

function below({ wanted, container, key, index }: Frame): Wanted | undefined {
  if (wanted.whole) return EVERYTHING
  if (!Array.isArray(container)) return wanted.steps.get(key)
  return wanted.steps.get(index) ?? wanted.steps.get(EACH)
}

/** The value as JSON text, digits as they were; longer ones end in `…`. */
export function exactText(value: Exact | undefined, max = Number.POSITIVE_INFINITY): string {
  let text = ''
  const write = (part: Exact | undefined): void => {
    if (text.length > max) return
    if (part === undefined) text += 'null'
    else if (part instanceof Digits) text += part.text
    else if (typeof part === 'string') text += JSON.stringify(part.length > max ? part.slice(0, max + 1) : part)
    else if (Array.isArray(part)) {
      text += '['
      for (let i = 0; i < part.length && text.length <= max; i++) {
        if (i > 0) text += ','
        write(part[i])
      }
      text += ']'
    } else if (typeof part === 'object' && part !== null) {
      text += '{'
      let first = true
      for (const key of Object.keys(part)) {
        if (text.length > max) break
        text += `${first ? '' : ','}${JSON.stringify(key)}:`
        first = false
        write(part[key])
      }
      text += '}'
    } else text += JSON.stringify(part)
  }
  write(value)
  if (text.length <= max) return text
  // Half of a pair of surrogates would be no text to PostgreSQL.
  return `${text.slice(0, max).replace(/[\ud800-\udbff]$/, '')}…`
}

/** The same without exactness: numbers become doubles, prototypes ordinary. */
export function plain(value: Exact): unknown {
  return JSON.parse(exactText(value))
}

/** Compares two numbers by all of their digits: negative, 0 or positive, as `sort` wants it. */
export function compareDigits(a: Digits, b: Digits): number {
  if (isShort(a.text) && isShort(b.text)) return Number(a.text) - Number(b.text)
  const [x, y] = [normalise(a.text), normalise(b.text)]
  if (x.sign !== y.sign) return x.sign - y.sign
  if (x.sign === 0) return 0
  if (x.magnitude !== y.magnitude) return x.sign * (x.magnitude - y.magnitude)
  if (x.digits === y.digits) return 0
  // Without leading and trailing zeros: digit by digit, and a longer one with the same beginning is larger.
  return x.sign * (x.digits < y.digits ? -1 : 1)
}

/** The same text for equal numbers, and for no others. */
export function canonicalDigits({ text }: Digits): string {
  const { sign, magnitude, digits } = normalise(text)
  return `${sign} ${digits} ${magnitude}`
}

/** A double tells any two decimals of 15 digits apart. */
function isShort(text: string): boolean {
  return text.length <= 15 && !text.includes('e') && !text.includes('E')
}

function normalise(text: string): { sign: number; magnitude: number; digits: string } {
  const [, minus, whole = '', fraction = '', exponent = '0'] =
    /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(text) ?? []
  const all = whole + fraction
  let start = 0
  while (all[start] === '0') start += 1
  let end = all.length
  while (end > start && all[end - 1] === '0') end -= 1
  if (start === end) return { sign: 0, magnitude: 0, digits: '' }
  const magnitude = whole.length - start + Number(exponent)
  return { sign: minus === '-' ? -1 : 1, magnitude, digits: all.slice(start, end) }
}
