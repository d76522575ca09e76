// Reads JSON (RFC 8259) token by token from its bytes, and checks its syntax. It builds nothing and does not recurse, so the cost
// is linear in the bytes and the memory is constant. The caller may pause between two tokens.

/** The results of `next`. */
export const TOKEN = {
  end: 0,
  openObject: 1,
  closeObject: 2,
  openArray: 3,
  closeArray: 4,
  key: 5,
  string: 6,
  number: 7,
  true: 8,
  false: 9,
  null: 10,
} as const

export interface ScanBounds {
  /** Levels of objects and arrays. */
  max_depth: number
  /** Objects, arrays and scalars together. */
  max_values: number
}

/** The bytes are not JSON, or exceed the bounds. */
export class JsonFault extends Error {
  readonly kind: 'syntax' | 'depth' | 'values'
  /** The byte at which reading stopped. */
  readonly offset: number

  constructor(kind: JsonFault['kind'], offset: number) {
    super(`${kind} at byte ${offset}`)
    this.kind = kind
    this.offset = offset
  }
}

/** What the grammar allows next. */
const VALUE = 0
const VALUE_OR_CLOSE = 1
const KEY = 2
const KEY_OR_CLOSE = 3
const COMMA_OR_CLOSE = 4
const NOTHING = 5

const UNBOUNDED: ScanBounds = { max_depth: 100_000, max_values: Number.POSITIVE_INFINITY }
const [TRUE, FALSE, NULL] = ['true', 'false', 'null'].map((word) => Buffer.from(word)) as [Buffer, Buffer, Buffer]
/** Larger exponents are all treated alike. */
const LARGEST_EXPONENT = 1_000_000

const QUOTE = 0x22
const BACKSLASH = 0x5c
const COMMA = 0x2c
const COLON = 0x3a
const MINUS = 0x2d
const [OPEN_OBJECT, CLOSE_OBJECT, OPEN_ARRAY, CLOSE_ARRAY] = [0x7b, 0x7d, 0x5b, 0x5d]
const SIMPLE_ESCAPES = new Uint8Array(256)
for (const letter of Buffer.from('"\\/bfnrt')) SIMPLE_ESCAPES[letter] = 1
const HEX = new Int8Array(256).fill(-1)
for (let digit = 0; digit < 16; digit++) {
  const letter = digit.toString(16)
  HEX[letter.charCodeAt(0)] = digit
  HEX[letter.toUpperCase().charCodeAt(0)] = digit
}

export class JsonScanner {
  /** The first byte of the token, and the first byte after it. A string includes its quotes. */
  start = 0
  end = 0
  /** The string has an escape in it. */
  escaped = false
  /** The string contains U+0000 or half of a surrogate pair, which PostgreSQL cannot store as text. */
  unstorable = false
  /** The exponent of the number, without its sign: `1e400` has 400 digits once it is written out. */
  exponent = 0
  /** Open objects and arrays. */
  depth = 0
  values = 0
  private readonly bytes: Buffer
  private readonly bounds: ScanBounds
  private at = 0
  private expects = VALUE
  /** For each level: 1 for an object, 0 for an array. */
  private objects = new Uint8Array(64)

  /** @param bytes valid UTF-8 */
  constructor(bytes: Buffer, bounds: ScanBounds = UNBOUNDED) {
    this.bytes = bytes
    this.bounds = bounds
  }

  /** The next token; after the last one, `end`. @throws JsonFault */
  next(): number {
    const { bytes } = this
    let at = this.blank(this.at)
    if (this.expects === COMMA_OR_CLOSE && bytes[at] === COMMA) {
      at = this.blank(at + 1)
      this.expects = this.objects[this.depth - 1] === 1 ? KEY : VALUE
    }
    this.start = at
    if (at >= bytes.length) {
      if (this.expects !== NOTHING) throw new JsonFault('syntax', at)
      this.end = at
      return TOKEN.end
    }
    const byte = bytes[at]!
    if (byte === CLOSE_OBJECT || byte === CLOSE_ARRAY) return this.close(byte === CLOSE_OBJECT)
    if (this.expects === KEY || this.expects === KEY_OR_CLOSE) {
      if (byte !== QUOTE) throw new JsonFault('syntax', at)
      this.string(at)
      const colon = this.blank(this.end)
      if (bytes[colon] !== COLON) throw new JsonFault('syntax', colon)
      this.at = colon + 1
      this.expects = VALUE
      return TOKEN.key
    }
    if (this.expects > VALUE_OR_CLOSE) throw new JsonFault('syntax', at)
    return this.value(byte, at)
  }

  /** The text of the string or key that was read last. */
  text(): string {
    if (this.escaped) return JSON.parse(this.bytes.toString('utf8', this.start, this.end)) as string
    return this.bytes.toString('utf8', this.start + 1, this.end - 1)
  }

  private value(byte: number, at: number): number {
    this.values += 1
    if (this.values > this.bounds.max_values) throw new JsonFault('values', at)
    if (byte === OPEN_OBJECT || byte === OPEN_ARRAY) return this.openAt(byte === OPEN_OBJECT, at)
    let token: number = TOKEN.string
    if (byte === QUOTE) this.string(at)
    else if (byte === 0x74) token = this.word(TRUE, at, TOKEN.true)
    else if (byte === 0x66) token = this.word(FALSE, at, TOKEN.false)
    else if (byte === 0x6e) token = this.word(NULL, at, TOKEN.null)
    else token = this.number(at)
    this.at = this.end
    this.expects = this.depth === 0 ? NOTHING : COMMA_OR_CLOSE
    return token
  }

  private openAt(object: boolean, at: number): number {
    if (this.depth >= this.bounds.max_depth) throw new JsonFault('depth', at)
    if (this.depth === this.objects.length) {
      const larger = new Uint8Array(2 * this.depth)
      larger.set(this.objects)
      this.objects = larger
    }
    this.objects[this.depth] = object ? 1 : 0
    this.depth += 1
    this.end = at + 1
    this.at = at + 1
    this.expects = object ? KEY_OR_CLOSE : VALUE_OR_CLOSE
    return object ? TOKEN.openObject : TOKEN.openArray
  }

  private close(object: boolean): number {
    const fits = this.depth > 0 && this.objects[this.depth - 1] === (object ? 1 : 0)
    const expected = this.expects === COMMA_OR_CLOSE || this.expects === (object ? KEY_OR_CLOSE : VALUE_OR_CLOSE)
    if (!fits || !expected) throw new JsonFault('syntax', this.start)
    this.depth -= 1
    this.end = this.start + 1
    this.at = this.end
    this.expects = this.depth === 0 ? NOTHING : COMMA_OR_CLOSE
    return object ? TOKEN.closeObject : TOKEN.closeArray
  }

  private blank(from: number): number {
    const { bytes } = this
    const { length } = bytes
    let at = from
    while (at < length) {
      const byte = bytes[at]!
      if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) break
      at += 1
    }
    return at
  }

  private string(from: number): void {
    const { bytes } = this
    const { length } = bytes
    this.escaped = false
    this.unstorable = false
    let at = from + 1
    while (at < length) {
      const byte = bytes[at]!
      if (byte === QUOTE) {
        this.end = at + 1
        return
      }
      if (byte === BACKSLASH) {
        this.escaped = true
        at = this.escape(at)
      } else if (byte < 0x20) break
      else at += 1
    }
    throw new JsonFault('syntax', at)
  }

  /** The first byte after the escape, or after the pair of escapes for one character. */
  private escape(at: number): number {
    const { bytes } = this
    const letter = bytes[at + 1]
    if (letter !== 0x75) {
      if (letter === undefined || !SIMPLE_ESCAPES[letter]) throw new JsonFault('syntax', at + 1)
      return at + 2
    }
    const code = this.hex(at + 2)
    if (code === 0) this.unstorable = true
    if (code < 0xd800 || code > 0xdfff) return at + 6
    const pair = code < 0xdc00 && bytes[at + 6] === BACKSLASH && bytes[at + 7] === 0x75 ? this.hex(at + 8) : 0
    if (pair >= 0xdc00 && pair <= 0xdfff) return at + 12
    this.unstorable = true
    return at + 6
  }

  private hex(at: number): number {
    let code = 0
    for (let i = at; i < at + 4; i++) {
      const digit = HEX[this.bytes[i] ?? 0]!
      if (digit < 0) throw new JsonFault('syntax', i)
      code = code * 16 + digit
    }
    return code
  }

  private word(word: Buffer, at: number, token: number): number {
    for (let i = 1; i < word.length; i++) if (this.bytes[at + i] !== word[i]) throw new JsonFault('syntax', at + i)
    this.end = at + word.length
    return token
  }

  private number(from: number): number {
    const { bytes } = this
    let at = bytes[from] === MINUS ? from + 1 : from
    at = bytes[at] === 0x30 ? at + 1 : this.digits(at)
    if (bytes[at] === 0x2e) at = this.digits(at + 1)
    this.exponent = 0
    if (bytes[at] === 0x65 || bytes[at] === 0x45) {
      at += 1
      if (bytes[at] === MINUS || bytes[at] === 0x2b) at += 1
      const first = at
      at = this.digits(at)
      for (let i = first; i < at && this.exponent < LARGEST_EXPONENT; i++) {
        this.exponent = this.exponent * 10 + bytes[i]! - 0x30
      }
    }
    this.end = at
    return TOKEN.number
  }

  private digits(from: number): number {
    const { bytes } = this
    const { length } = bytes
    let at = from
    while (at < length && bytes[at]! >= 0x30 && bytes[at]! <= 0x39) at += 1
    if (at === from) throw new JsonFault('syntax', at)
    return at
  }
}
