// Normalises a text for the search: decodes escapes, and drops characters that only separate others. The position of each
// remaining character in the original text is kept.

/** A text whose character `i` was at `[starts[i], ends[i])` of the original. */
export interface Mapped {
  text: string
  starts: Int32Array
  ends: Int32Array
}

/** JSON, JavaScript, percent (also that of IIS), HTML and XML, and octal bytes as in C, shells and PostgreSQL. */
const ESCAPES =
  /\\u([0-9a-f]{4})|\\u\{([0-9a-f]{1,6})\}|\\x([0-9a-f]{2})|\\(["'\\/bfnrtv])|((?:%[0-9a-f]{2})+)|%u([0-9a-f]{4})|&#x([0-9a-f]{1,6});?|&#([0-9]{1,7});?|&([a-z][a-z0-9]{1,30});|((?:\\[0-3][0-7]{2})+)|\\([0-7]{1,2})/gi
/** Length of one octal escape. */
const OCTAL = 4
/** Quoted-printable: a soft line break, or bytes in hex. */
const QUOTED = /(=\r?\n)|((?:=[0-9a-f]{2})+)/gi

/** Only the punctuation of ASCII: letters and digits have no names in HTML. */
const NAMED = new Map(
  Object.entries({
    ...{ amp: '&', lt: '<', gt: '>', quot: '"', apos: "'", sol: '/', bsol: '\\', plus: '+', equals: '=', excl: '!' },
    ...{ num: '#', dollar: '$', percnt: '%', lpar: '(', rpar: ')', ast: '*', midast: '*', comma: ',', period: '.' },
    ...{ colon: ':', semi: ';', quest: '?', commat: '@', lsqb: '[', lbrack: '[', rsqb: ']', rbrack: ']', hat: '^' },
    ...{ lowbar: '_', underbar: '_', grave: '`', diacriticalgrave: '`', lcub: '{', lbrace: '{', rcub: '}' },
    ...{ rbrace: '}', verbar: '|', vert: '|', verticalline: '|', hyphen: '-', dash: '-' },
  }),
)

/** An incomplete escape at the end of a text. */
export const CUT_ESCAPE =
  /(?:\\(?:u[0-9a-f]{0,3}|x[0-9a-f]?|[0-7]{1,2})?|%(?:25)*[0-9a-f]?|&#?x?[0-9a-z]{0,30}|=[0-9a-f]?)$/i

export function mapped(text: string): Mapped {
  const starts = new Int32Array(text.length)
  const ends = new Int32Array(text.length)
  for (let at = 0; at < text.length; at++) {
    starts[at] = at
    ends[at] = at + 1
  }
  return { text, starts, ends }
}

/** Decodes each escape once; undefined if there is none. */
export function decoded(from: Mapped, kind: 'escapes' | 'quoted'): Mapped | undefined {
  const parts: string[] = []
  const starts = new Int32Array(from.text.length)
  const ends = new Int32Array(from.text.length)
  let length = 0
  let last = 0
  const keep = (until: number) => {
    parts.push(from.text.slice(last, until))
    starts.set(from.starts.subarray(last, until), length)
    ends.set(from.ends.subarray(last, until), length)
    length += until - last
  }
  for (const match of from.text.matchAll(kind === 'escapes' ? ESCAPES : QUOTED)) {
    const characters = kind === 'escapes' ? unescaped(match) : unquoted(match)
    if (characters === undefined) continue
    keep(match.index)
    last = match.index + match[0].length
    parts.push(characters)
    // In a run of bytes each byte has its own position, unless several form one character.
    const each = match[0].startsWith('\\') ? OCTAL : 3
    const width = characters.length * each === match[0].length ? each : match[0].length
    for (let at = 0; at < characters.length; at++) {
      const first = width === each ? match.index + at * each : match.index
      starts[length] = from.starts[first]!
      ends[length] = from.ends[first + width - 1]!
      length++
    }
  }
  if (last === 0) return undefined
  keep(from.text.length)
  return { text: parts.join(''), starts: starts.subarray(0, length), ends: ends.subarray(0, length) }
}

function unescaped(match: RegExpMatchArray): string | undefined {
  const [, json, braced, hex, short, percent, wide, htmlHex, html, name, octals, octal] = match
  const code = json ?? braced ?? hex ?? wide ?? htmlHex
  if (code !== undefined) return fromCode(Number.parseInt(code, 16))
  if (octal !== undefined) return fromCode(Number.parseInt(octal, 8))
  if (octals !== undefined) return bytesOf(octals.split('\\').map(octalToHex).join(''))
  if (html !== undefined) return fromCode(Number(html))
  if (percent !== undefined) return bytesOf(percent.replaceAll('%', ''))
  if (short !== undefined) return 'bfnrtv'.includes(short.toLowerCase()) ? ' ' : short
  return NAMED.get(name!.toLowerCase()) ?? ' '
}

function octalToHex(code: string): string {
  return code && Number.parseInt(code, 8).toString(16).padStart(2, '0')
}

function unquoted([, softBreak, bytes]: RegExpMatchArray): string {
  return softBreak === undefined ? bytesOf(bytes!.replaceAll('=', '')) : ' '
}

function fromCode(code: number): string {
  return code <= 0x10ffff ? String.fromCodePoint(code) : ' '
}

/** The result is never longer than the escape. */
function bytesOf(hex: string): string {
  const bytes = Buffer.from(hex, 'hex')
  const text = bytes.toString('utf8')
  return text.includes('\ufffd') ? bytes.toString('latin1') : text
}

/**
 * In lower case, and only the characters that are compared. `letters`: the letters and digits of ASCII, so that punctuation,
 * accents and line breaks do not matter. `marks`: all but white space and control characters.
 */
export function folded(from: Mapped, keep: 'letters' | 'marks'): Mapped {
  const codes = new Uint16Array(from.text.length)
  const starts = new Int32Array(from.text.length)
  const ends = new Int32Array(from.text.length)
  let length = 0
  for (let at = 0; at < from.text.length; at++) {
    let code = from.text.charCodeAt(at)
    if (code >= 65 && code <= 90) code += 32
    const isLetter = (code >= 97 && code <= 122) || (code >= 48 && code <= 57)
    if (!isLetter && (keep === 'letters' || isBlank(code))) continue
    if (code > 127) code = lowered(code)
    codes[length] = code
    starts[length] = from.starts[at]!
    ends[length] = from.ends[at]!
    length++
  }
  const text = Buffer.from(codes.buffer, 0, length * 2).toString('utf16le')
  return { text, starts: starts.subarray(0, length), ends: ends.subarray(0, length) }
}

/** Only if the lower-case form is also one code unit. */
function lowered(code: number): number {
  const lower = String.fromCharCode(code).toLowerCase()
  return lower.length === 1 ? lower.charCodeAt(0) : code
}

/** The replacement character counts too: it replaces each NUL of a text in UTF-16. */
function isBlank(code: number): boolean {
  return code <= 32 || (code >= 127 && code <= 160) || code === 0xfffd || code === 0xfeff
}
