// Reads a JSON request token by token. It finds problems, keeps the exact text of top-level values, and replaces the payload
// by a short placeholder, so that the payload is not parsed into objects.
import { JsonFault, JsonScanner, TOKEN } from '../../activities/document/scan.ts'
import { LIMITS } from '../../db/limits.ts'
import { type Detail, type Issues, invalid, issueList } from './errors.ts'
import { fieldPath } from './field-path.ts'

export const MAX_DEPTH = LIMITS.jsonDepth.value

/** The top-level field whose content is opaque: kept byte for byte, even with duplicate keys. */
export const PAYLOAD = 'payload'

export interface JsonForm {
  /** The opaque top-level field; default `payload`. */
  opaque?: string
  /** Default 500. */
  max_depth?: number
  /** Elements of the opaque field whose bytes are returned one by one. */
  max_elements?: number
}

export interface ParsedJson {
  /** The opaque field is replaced by its kind: `{}`, `[]`, `""`, `0`, `true`, `false` or `null`. */
  value: unknown
  texts: Texts
  /** Strings, keys and numbers outside the opaque field that PostgreSQL cannot store. */
  unstorable: Detail[]
  /** False: jsonb would refuse the opaque field, or write it much longer than it was sent. */
  queryable: boolean
  /** The elements of an opaque array: their number, and the first ones. */
  elements: { count: number; first: Buffer[] }
}

/** The text of each value of a top-level object, exactly as it was sent. */
export class Texts {
  private readonly parts = new Map<string, Buffer>()

  add(key: string, part: Buffer): void {
    this.parts.set(key, part)
  }

  bytes(key: string): Buffer | undefined {
    return this.parts.get(key)
  }

  get(key: string): string | undefined {
    return this.parts.get(key)?.toString('utf8')
  }
}

interface Frame {
  /** Keys seen so far; null for an array. */
  keys: Set<string> | null
  key: string
  /** Position in an array; -1 in an object. */
  index: number
}

/** jsonb writes numbers out: `1e400` becomes 400 digits. With more digits than these the opaque field is not stored as jsonb. */
const MAX_WRITTEN_OUT = 1_000_000

export class DocumentReader {
  private readonly bytes: Buffer
  private readonly scanner: JsonScanner
  private readonly opaque: string
  private readonly maxElements: number
  private readonly stack: Frame[] = []
  private readonly texts = new Texts()
  private readonly duplicates: Issues = issueList()
  private readonly unstorable: Issues = issueList()
  private readonly elements: ParsedJson['elements'] = { count: 0, first: [] }
  /** Start of the value of the current top-level key; -1 between two. */
  private valueStart = -1
  private elementStart = 0
  /** The position of the opaque value, once it was read. */
  private inner: { start: number; end: number; kind: string } | undefined
  private innerKind = ''
  /** Number of values before the opaque value, and inside it. */
  private innerFrom = 0
  private innerValues = 0
  private outerBytes = 0
  private outerWrittenOut = 0
  private writtenOut = 0
  private queryable = true

  constructor(bytes: Buffer, { opaque = PAYLOAD, max_depth = MAX_DEPTH, max_elements = 0 }: JsonForm) {
    this.bytes = bytes
    this.opaque = opaque
    this.maxElements = max_elements
    this.scanner = new JsonScanner(bytes, { max_depth, max_values: LIMITS.jsonValues.value })
  }

  get position(): number {
    return this.scanner.end
  }

  /** Reads one token; false at the end. */
  next(): boolean {
    const { scanner } = this
    const token = scanner.next()
    if (this.innerKind !== '') this.inside(token)
    else if (token === TOKEN.end) return false
    else if (token === TOKEN.key) this.key()
    else if (token === TOKEN.closeObject || token === TOKEN.closeArray) this.close()
    else this.value(token)
    return true
  }

  result(): ParsedJson {
    if (this.duplicates.count > 0) throw invalid(this.duplicates)
    const { inner, bytes, texts, queryable, elements } = this
    const outer = inner
      ? bytes.toString('utf8', 0, inner.start) + inner.kind + bytes.toString('utf8', inner.end)
      : bytes.toString('utf8')
    const value: unknown = JSON.parse(outer)
    return { value, texts, unstorable: this.unstorable.details, queryable, elements }
  }

  private key(): void {
    const { scanner, stack } = this
    this.weigh()
    const frame = stack.at(-1)!
    if (scanner.unstorable) {
      this.unstorable.add(() => ({ field: this.path(1), issue: 'has a key with a NUL character or a lone surrogate' }))
    }
    if (scanner.end - scanner.start > LIMITS.jsonKey.value) this.tooLong('a key', LIMITS.jsonKey, 1)
    frame.key = scanner.text()
    if (frame.keys!.has(frame.key)) this.duplicates.add(() => ({ field: this.path(), issue: 'appears more than once' }))
    frame.keys!.add(frame.key)
  }

  private value(token: number): void {
    const { scanner, stack } = this
    if (scanner.values - this.innerValues > LIMITS.outerJsonValues.value) {
      throw new JsonFault('values', scanner.start)
    }
    const frame = stack.at(-1)
    if (frame?.keys === null) frame.index += 1
    if (stack.length === 1) {
      this.valueStart = scanner.start
      if (frame!.keys && frame!.key === this.opaque) {
        this.begin(token)
        return
      }
    }
    this.weigh()
    const length = scanner.end - scanner.start
    if (token === TOKEN.openObject) stack.push({ keys: new Set(), key: '', index: -1 })
    else if (token === TOKEN.openArray) stack.push({ keys: null, key: '', index: -1 })
    else {
      if (token === TOKEN.string && length > LIMITS.jsonText.value) this.tooLong('a string', LIMITS.jsonText)
      if (token === TOKEN.string && scanner.unstorable) {
        this.unstorable.add(() => ({ field: this.path(), issue: 'contains a NUL character or a lone surrogate' }))
      } else if (token === TOKEN.number) this.weighNumber(length)
      this.ended()
    }
  }

  /** Counts bytes outside of the opaque field, without white space. */
  private weigh(): void {
    this.outerBytes += this.scanner.end - this.scanner.start
    if (this.outerBytes <= LIMITS.outerJsonBytes.value) return
    const issue = `has more than ${LIMITS.outerJsonBytes.value} bytes outside of ${this.opaque}`
    throw invalid([{ field: 'body', issue }])
  }

  /** Counts the digits of a number as PostgreSQL writes them out. */
  private weighNumber(length: number): void {
    const { exponent } = this.scanner
    const most = LIMITS.jsonDigits.value
    if (length > most || exponent > most) {
      this.unstorable.add(() => ({ field: this.path(), issue: `must be a number of at most ${most} digits` }))
      return
    }
    this.outerWrittenOut += exponent
    if (this.outerWrittenOut > LIMITS.jsonAllDigits.value) this.tooLong('numbers', LIMITS.jsonAllDigits, 1)
  }

  /** Stops at once: the rest may be as long. */
  private tooLong(what: string, { value, unit }: { value: number; unit: string }, above = 0): never {
    throw invalid([{ field: this.path(above), issue: `contains ${what} of more than ${value} ${unit}` }])
  }

  private close(): void {
    this.stack.pop()
    this.ended()
  }

  /** A value is complete; the text of a top-level value is kept. */
  private ended(): void {
    const [frame] = this.stack
    if (this.stack.length !== 1 || !frame?.keys) return
    this.texts.add(frame.key, this.bytes.subarray(this.valueStart, this.scanner.end))
  }

  /** The opaque value begins. */
  private begin(token: number): void {
    this.innerKind = placeholder(token)
    this.innerFrom = this.scanner.values
    this.look(token)
    if (token !== TOKEN.openObject && token !== TOKEN.openArray) this.leave()
  }

  private inside(token: number): void {
    const { scanner } = this
    this.look(token)
    const closes = token === TOKEN.closeObject || token === TOKEN.closeArray
    if (closes && scanner.depth === 1) this.leave()
    else if (this.maxElements > 0 && this.innerKind === '[]') this.element(token, closes)
  }

  /** Whether jsonb would refuse this part of the opaque field. */
  private look(token: number): void {
    const { scanner } = this
    if ((token === TOKEN.string || token === TOKEN.key) && scanner.unstorable) this.queryable = false
    else if (token === TOKEN.number) {
      this.writtenOut += scanner.exponent
      if (this.writtenOut > MAX_WRITTEN_OUT) this.queryable = false
    }
  }

  private element(token: number, closes: boolean): void {
    const { scanner, elements } = this
    const opens = token === TOKEN.openObject || token === TOKEN.openArray
    const depth = scanner.depth - (opens ? 1 : 0)
    if (depth !== 2 || token === TOKEN.key) return
    if (!closes) {
      elements.count += 1
      this.elementStart = scanner.start
    }
    if (!opens && elements.count <= this.maxElements) {
      elements.first.push(this.bytes.subarray(this.elementStart, scanner.end))
    }
  }

  private leave(): void {
    const { scanner } = this
    this.inner = { start: this.valueStart, end: scanner.end, kind: this.innerKind }
    this.innerKind = ''
    this.innerValues += scanner.values - this.innerFrom
    this.ended()
  }

  /** The path to the present token, `above` levels up. */
  private path(above = 0): string {
    const frames = above === 0 ? this.stack : this.stack.slice(0, -above)
    return fieldPath(frames.map((frame) => (frame.keys ? frame.key : frame.index)))
  }
}

/** The placeholder of the opaque value when the rest is parsed. */
function placeholder(token: number): string {
  switch (token) {
    case TOKEN.openObject:
      return '{}'
    case TOKEN.openArray:
      return '[]'
    case TOKEN.string:
      return '""'
    case TOKEN.number:
      return '0'
    case TOKEN.null:
      return 'null'
    default:
      return String(token === TOKEN.true)
  }
}
