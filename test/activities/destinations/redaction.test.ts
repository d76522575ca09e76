// Secrets that a receiver echoes, in every spelling that it may use.
import { describe, expect, it } from 'vitest'
import { redact, redactLarge } from '../../../activities/destinations/secrets/redaction/index.ts'

const SECRETS = {
  token: 'abc/DEF+0123456789==',
  password: 'p@ss/w0rd&"ü"<1>',
  passphrase: 'correct horse/battery staple',
  escaped: 'a%2Fb\\u0041c&amp;d\\/e-4711',
  marks: '!"/&%$;(=)?*<>',
  umlauts: 'пароль/Секрет-4711',
  short: 'k/7"zQ',
  uuid: '0190f6a0-0000-7000-8000-00000000abcd',
  jwt: 'eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk',
  long: Array.from({ length: 400 }, (_, at) => (at * 7919).toString(36)).join(''),
}
type Spell = (text: string) => string
const each =
  (spell: (character: string) => string): Spell =>
  (text) =>
    [...text].map(spell).join('')
const hex = (character: string, pad = 2) => character.codePointAt(0)!.toString(16).padStart(pad, '0')
const percentBytes: Spell = (text) =>
  [...Buffer.from(text)].map((byte) => `%${byte.toString(16).padStart(2, '0')}`).join('')
const bytesOf = (text: string, spell: (byte: number, at: number) => string) => [...Buffer.from(text)].map(spell)
const base64 = (text: string) => Buffer.from(text).toString('base64')
const NAMES: Record<string, string> = {
  '/': 'sol',
  '+': 'plus',
  '=': 'equals',
  '&': 'amp',
  '<': 'lt',
  '>': 'gt',
  '"': 'quot',
}

const SPELLINGS: Record<string, Spell> = {
  'as it is': (text) => text,
  JSON: (text) => JSON.stringify(text),
  'JSON of PHP': (text) => JSON.stringify(text).replaceAll('/', '\\/'),
  'JSON within JSON': (text) => JSON.stringify(JSON.stringify({ echo: text })),
  'JSON three times': (text) => JSON.stringify(JSON.stringify(JSON.stringify({ echo: text }))),
  'every character as \\uXXXX': each((one) => `\\u${hex(one, 4)}`),
  'every character as \\uXXXX in upper case': each((one) => `\\u${hex(one, 4).toUpperCase()}`),
  'every other character as \\uXXXX': (text) =>
    [...text].map((one, at) => (at % 2 === 0 ? `\\u${hex(one, 4)}` : JSON.stringify(one).slice(1, -1))).join(''),
  'JavaScript \\x': each((one) => (one.codePointAt(0)! < 256 ? `\\x${hex(one)}` : one)),
  'HTML entities, named': each((one) => (NAMES[one] ? `&${NAMES[one]};` : one)),
  'HTML entities, decimal': each((one) => `&#${one.codePointAt(0)};`),
  'HTML entities, decimal with zeros': each((one) => `&#${String(one.codePointAt(0)).padStart(7, '0')};`),
  'HTML entities, hex': each((one) => `&#x${hex(one)};`),
  'HTML entities, hex in upper case': each((one) => `&#X${hex(one).toUpperCase()};`),
  'HTML within HTML': each((one) => `&amp;#${one.codePointAt(0)};`),
  'percent-encoded': encodeURIComponent,
  'percent-encoded in lower case': (text) => encodeURIComponent(text).replace(/%../g, (one) => one.toLowerCase()),
  'percent-encoded twice': (text) => encodeURIComponent(encodeURIComponent(text)),
  'percent-encoded three times': (text) => encodeURIComponent(encodeURIComponent(encodeURIComponent(text))),
  'percent-encoded as a form': (text) => new URLSearchParams({ a: text }).toString(),
  'percent-encoded, every byte': percentBytes,
  'percent-encoded within JSON': (text) => JSON.stringify({ url: `https://x.example/?t=${percentBytes(text)}` }),
  'quoted-printable': each((one) =>
    /[a-z0-9]/i.test(one)
      ? one
      : [...Buffer.from(one)].map((byte) => `=${byte.toString(16).toUpperCase().padStart(2, '0')}`).join(''),
  ),
  'quoted-printable with soft breaks': (text) => text.replace(/.{5}/gs, (part) => `${part}=\r\n`),
  base64,
  'base64 behind one character': (text) => base64(`x${text}`),
  'base64 behind two characters': (text) => base64(`xy${text}`),
  'base64 of user and password': (text) => base64(`reporter:${text}`),
  'base64 within more': (text) => base64(`{"authorization": "${text}", "more": 1}`),
  base64url: (text) => Buffer.from(`user:${text}`).toString('base64url'),
  'base64 in lines': (text) => base64(`user:${text}`).replace(/.{7}/g, (part) => `${part}\r\n`),
  'base64 in JSON of PHP': (text) => JSON.stringify(base64(`us:${text}`)).replaceAll('/', '\\/'),
  'base64, percent-encoded': (text) => encodeURIComponent(base64(`use:${text}`)),
  'base64 of JSON': (text) => base64(JSON.stringify({ token: text })),
  'base64 of a percent-encoded text': (text) => base64(`id:${encodeURIComponent(text)}`),
  hex: (text) => Buffer.from(text).toString('hex'),
  'hex in upper case': (text) => Buffer.from(text).toString('hex').toUpperCase(),
  'hex with colons': (text) =>
    Buffer.from(text)
      .toString('hex')
      .replace(/../g, (one) => `${one}:`),
  'bytes in octal': (text) => bytesOf(text, (byte) => `\\${byte.toString(8).padStart(3, '0')}`).join(''),
  'bytes in octal within JSON': (text) =>
    JSON.stringify(bytesOf(text, (byte) => `\\${byte.toString(8).padStart(3, '0')}`).join('')),
  'every other byte in octal': (text) =>
    bytesOf(text, (byte, at) =>
      at % 2 === 0 || byte > 126 ? `\\${byte.toString(8).padStart(3, '0')}` : String.fromCharCode(byte),
    ).join(''),
  'a buffer of Node': (text) => JSON.stringify(Buffer.from(text)),
  'a list of bytes': (text) => `[${bytesOf(text, String).join(', ')}]`,
  'a list of bytes in hex': (text) => bytesOf(text, (byte) => `0x${byte.toString(16).padStart(2, '0')}`).join(', '),
  'base64 of base64': (text) => base64(base64(text)),
  'base64 of UTF-16': (text) => Buffer.from(text, 'utf16le').toString('base64'),
  'base64 of UTF-16 within more': (text) => Buffer.from(`Bearer ${text}, 401`, 'utf16le').toString('base64'),
  'upper case': (text) => text.toUpperCase(),
  'lower case': (text) => text.toLowerCase(),
  'broken lines': (text) => text.replace(/.{4}/gs, (part) => `${part}\r\n  `),
  'UTF-16 that was read as UTF-8': (text) => Buffer.from(text, 'utf16le').toString('utf8').replaceAll('\0', '\ufffd'),
}

/** The longest piece of the secret that somebody who tries every decoder can still read. */
function readable(secret: string, shown: string): string {
  const letters = secret.replace(/[^a-z0-9]/gi, '').length >= 8
  const fold = (text: string) => text.toLowerCase().replace(letters ? /[^a-z0-9]/g : /[\s\0\ufffd]/g, '')
  const left = shown.replaceAll('***', ' | ')
  const forms = [left]
  for (let round = 0; round < 4; round++) forms.push(decode(forms.at(-1)!))
  for (const form of [...forms]) {
    for (const once of unpacked(form)) forms.push(once, ...unpacked(once))
    const numbers = form.match(/0x[0-9a-f]{2}|\b\d{1,3}\b/gi) ?? []
    forms.push(String.fromCharCode(...numbers.map(Number).filter((byte) => byte < 256)))
    for (const run of form.replaceAll(':', '').match(/[0-9a-f]{4,}/gi) ?? []) {
      for (const skip of [0, 1]) forms.push(Buffer.from(run.slice(skip), 'hex').toString('latin1'))
    }
  }
  return forms.map((form) => longestCommon(fold(secret), fold(form))).reduce((x, y) => (x.length > y.length ? x : y))
}

/** What base64 in it may stand for. */
function unpacked(text: string): string[] {
  const runs = text.replace(/[\r\n]+ */g, '').match(/[A-Za-z0-9+/_-]{4,}/g) ?? []
  return runs.flatMap((run) => [0, 1, 2, 3].map((skip) => Buffer.from(run.slice(skip), 'base64').toString('latin1')))
}

function longestCommon(a: string, b: string): string {
  let best = ''
  for (let at = 0; at < a.length; at++) {
    while (at + best.length < a.length && b.includes(a.slice(at, at + best.length + 1)))
      best = a.slice(at, at + best.length + 1)
  }
  return best
}

describe.each(Object.entries(SECRETS))('the secret "%s"', (_name, secret) => {
  const hide = (text: string) => redact(text, ['another-secret-0815', secret])

  it.each(Object.entries(SPELLINGS))('is hidden as %s', (name, spell) => {
    // Of so few characters base64 has none of their own.
    if (secret.length < 8 && /base64 (behind|in )|base64url|base64 of a/.test(name)) return
    // Its bytes are no UTF-8: what stays of it in such a text is not the secret.
    if (name.startsWith('UTF-16') && /[^\0-\x7f]/.test(secret)) return
    const spelled = spell(secret)
    for (const [before, after] of [
      ['', ''],
      ['{"got":"Bearer ', '"}'],
      ['token=', '&x=1'],
      ['<p>', '</p>'],
      ['100%', ' '],
    ]) {
      const shown = hide(`${before}${spelled}${after}`)
      expect(shown).toContain('***')
      expect(readable(secret, shown).length, shown).toBeLessThanOrEqual(4)
    }
  })
})

describe('a secret that was cut', () => {
  const secret = 'Xk3/vLq9+TzR5mWc8Yb1=='

  it.each(['as it is', 'JSON of PHP', 'percent-encoded', 'every character as \\uXXXX', 'HTML entities, hex', 'base64'])(
    'is hidden at the end of a text, as %s',
    (name) => {
      const spelled = SPELLINGS[name]!(secret)
      for (let length = 1; length < spelled.length; length++) {
        const shown = redact(`{"got":"${spelled.slice(0, length)}`, [secret])
        expect(readable(secret, shown.slice('{"got":"'.length)).length, shown).toBeLessThan(5)
      }
    },
  )

  it('is hidden at the beginning of a text', () => {
    for (let from = 1; from < secret.length - 6; from++) {
      const shown = redact(`${secret.slice(from)} is no token`, [secret])
      expect(shown, String(from)).toMatch(/^\W*\*\*\*\W* is no token$/)
    }
  })

  it('is hidden where half of it is quoted', () => {
    expect(redact('starts with Xk3/vLq9+TzR5m …', [secret])).toBe('starts with *** …')
  })
})

/** Each escape once. */
function decode(text: string): string {
  return text
    .replace(/\\\\/g, '\\')
    .replace(/\\u([0-9a-f]{4})|\\x([0-9a-f]{2})/gi, (_, wide: string, hex: string) => fromHex(wide ?? hex))
    .replace(/\\([0-7]{3})/g, (_, code: string) => String.fromCharCode(Number.parseInt(code, 8)))
    .replace(/\\([/"])/g, '$1')
    .replace(/&#x([0-9a-f]+);/gi, (_, code: string) => fromHex(code))
    .replace(/&#([0-9]+);/g, (_, code: string) => String.fromCodePoint(Number(code)))
    .replace(/&(\w+);/g, (whole, name: string) => Object.entries(NAMES).find(([, each]) => each === name)?.[0] ?? whole)
    .replace(/(?:[%=][0-9a-f]{2})+/gi, (run) => Buffer.from(run.replace(/[%=]/g, ''), 'hex').toString())
    .replace(/=\r?\n/g, '')
}

function fromHex(code: string): string {
  return String.fromCodePoint(Number.parseInt(code, 16))
}

it('is hidden in a large text, also where its pieces meet, and others have their turn meanwhile', async () => {
  const { token, long, jwt } = SECRETS
  const line = (at: number) => `${String(at).padStart(7, '0')} ${JSON.stringify(at % 2 ? token : jwt)}\n`
  const text = Array.from({ length: 12_000 }, (_, at) => line(at)).join('') + JSON.stringify(long.repeat(20))
  let turns = 0
  const counting = setInterval(() => turns++, 0)
  const shown = await redactLarge(text, [token, jwt, long])
  clearInterval(counting)
  expect(turns).toBeGreaterThan(5)
  expect(shown).not.toMatch(/DEF|eyJ|IkpX/)
  expect(shown.match(/^\d{7} "\*\*\*(==)?"$/gm)?.length).toBeGreaterThan(11_990)
  expect(readable(long, shown.slice(-3000)).length).toBeLessThanOrEqual(4)
})

describe('what is no secret', () => {
  it.each([
    ['an innocent text', 'the report was refused: amount must be a number', ['abc/DEF+0123456789==', 'hunter22']],
    ['a secret of three characters', 'a cat and a dog', ['cat', 'a']],
    ['a short secret inside of words', 'the testament was contested', ['test']],
    ['an empty secret', 'nothing', ['']],
    ['words that the secret is made of', 'password of the database user', ['production-database-password-4711']],
    ['numbers', JSON.stringify(Array.from({ length: 300 }, (_, at) => at)), ['Xk3/vLq9+TzR5mWc8Yb1==', 'hunter22']],
    ['a path of Windows', 'C:\\101\\new\\60 was not found', ['abc/DEF+0123456789==', 'hunter22']],
    ['no secrets', 'nothing', []],
  ])('stays: %s', (_name, text, secrets) => {
    expect(redact(text, secrets)).toBe(text)
  })

  it('around a secret stays', () => {
    expect(redact('a "test" of k/7"zQ, then test.', ['test', 'k/7"zQ'])).toBe('a "***" of ***, then ***.')
    const body = '{"error":"bad token","got":"Bearer abc\\/DEF+0123456789==","id":7}'
    expect(redact(body, [SECRETS.token])).toBe('{"error":"bad token","got":"Bearer ***","id":7}')
  })
})

it('costs in proportion to the text, also for one that is made of pieces of the secrets', () => {
  const secrets = Array.from({ length: 50 }, (_, at) => `${'ab'.repeat(at)}${SECRETS.jwt}${at}`.slice(0, 60))
  secrets.push('a'.repeat(30_000), SECRETS.long)
  const hide = (text: string) => redact(text, secrets)
  hide('warm')
  const texts = (length: number) =>
    [
      'a',
      'ab',
      SECRETS.jwt.slice(0, 9),
      '\\u0061',
      '\\141',
      '\\7',
      '97,',
      '0x61 ',
      '%2561',
      '&#97;',
      '=61',
      '%',
      '\\',
      '&amp;',
    ].map((piece) => piece.repeat(Math.ceil(length / piece.length)).slice(0, length))
  const cost = (length: number) => {
    const all = texts(length)
    const before = process.cpuUsage()
    for (const text of all) hide(text)
    const { user, system } = process.cpuUsage(before)
    return user + system
  }
  cost(16_384)
  const [small, large] = [cost(16_384), cost(131_072)]
  expect(large / small).toBeLessThan(8 * 3)
})
