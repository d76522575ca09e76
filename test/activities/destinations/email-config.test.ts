// What an EMAIL configuration may say, and what a payload can never do to a mail: without a server.
import { createHash, createVerify, generateKeyPairSync } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { compose } from '../../../activities/destinations/email/compose.ts'
import { emailConfig } from '../../../activities/destinations/email/config.ts'
import { resolveSecrets } from '../../../activities/destinations/secrets/resolution.ts'
import { maskSecrets } from '../../../activities/destinations/secrets/storage.ts'
import { aMessage, failureOf, SECRET } from './contract.ts'
import { aConfig } from './mailing.ts'

const LEAST = { host: 'mail.test', from: 'a@sender.test', to: ['b@example.test'] }

function problems(given: Record<string, unknown>): string[] {
  const parsed = emailConfig.safeParse({ ...LEAST, ...given })
  return parsed.success ? [] : parsed.error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`)
}

/** The mail as text, unfolded. */
async function mail(given: Record<string, unknown>, payload: unknown = {}): Promise<string> {
  const { bytes } = await compose(aConfig(25, given), aMessage({ body: Buffer.from(JSON.stringify(payload)) }))
  return bytes.toString('latin1').replace(/\r\n[ \t]+/g, ' ')
}

function refusal(given: Record<string, unknown>, payload: unknown) {
  return failureOf(compose(aConfig(25, given), aMessage({ body: Buffer.from(JSON.stringify(payload)) })))
}

describe('the configuration', () => {
  it('needs host, from and to, and is secure by default', () => {
    expect(emailConfig.parse(LEAST)).toMatchObject({ security: 'starttls', attachment: { format: 'json' } })
  })

  it.each([
    ['a@example.test'],
    ['Ann <a@example.test>'],
    ['"Doe, Ann" <a@example.test>'],
    ['<a.b+c@example.test>'],
    ['Änne <a@münchen.test>'],
    ["o'neill@mail-1.example.test"],
    ['root@localhost'],
  ])('accepts the address %s', (address) => {
    expect(problems({ from: address, to: [address], cc: [address], bcc: [address], reply_to: address })).toEqual([])
  })

  it.each([
    [''],
    ['a'],
    ['@example.test'],
    ['a@'],
    ['a b@example.test'],
    ['a@example.test, b@example.test'],
    ['a@example.test;b@example.test'],
    ['Ann <a@example.test>, Bob <b@example.test>'],
    ['group: a@example.test;'],
    ['a@example.test>'],
    ['<a@example.test'],
    ['a@example.test\r\nBcc: b@example.test'],
    ['Ann\n <a@example.test>'],
    ['"a b"@example.test'],
    ['a(comment)@example.test'],
    ['.a@example.test'],
    ['a..b@example.test'],
    ['a@[127.0.0.1]'],
    ['a@127.0.0.1'],
    ['a@-example.test'],
    ['a@example..test'],
    ['a@exa_mple.test'],
    ['a@ex%61mple.test'],
    ['ä@example.test'],
    [`${'a'.repeat(65)}@example.test`],
    [`a@${'b'.repeat(64)}.test`],
    ['a@b@example.test'],
  ])('rejects the address %j', (address) => {
    expect(problems({ from: address })).toHaveLength(1)
    expect(problems({ to: [address] }).length).toBeGreaterThan(0)
  })

  it.each([
    ['{payload.customer.email}', 0],
    ['Customer <{payload.email}>', 0],
    ['{payload.name} <{payload.email}>', 0],
    ['{payload.people[0].name} <{payload.people[0].email}>', 0],
    ['{payload.user}@example.test', 0],
    ['{payload.user}@{payload.domain}', 0],
    ['{payload.a}, {payload.b}', 1],
    ['{payload.a} {payload.b}', 1],
    ['{payload.a};b@example.test', 1],
    ['{payload.user}@exa mple.test', 1],
    ['{unknown}', 1],
    ['Try {attempt_number} <a@example.test>', 0],
    ['a+{attempt_number}@example.test', 1],
  ])('for the recipient %s reports %i problems', (recipient, count) => {
    expect(problems({ to: [recipient] })).toHaveLength(count)
  })

  it.each([
    [{ to: [] }, 'to'],
    [{ to: Array.from({ length: 101 }, (_, n) => `n${n}@example.test`) }, 'to'],
    [
      {
        to: Array.from({ length: 60 }, (_, n) => `n${n}@example.test`),
        bcc: LEAST.to.concat(Array(40).fill('c@d.test')),
      },
      'to',
    ],
    [{ from: '{payload.from}' }, 'from'],
    [{ from: '{payload.user}@sender.test' }, 'from: has a placeholder, but cannot have one'],
    [{ from: 'Reports of {data_type} <a@sender.test>' }, 'from: has a placeholder'],
    [{ reply_to: '{tenant_id}@sender.test' }, 'reply_to: has a placeholder'],
    [{ bounce_to: '{tenant_id}@sender.test' }, 'bounce_to: has a placeholder'],
    [{ security: 'none', tls: { ca: 'x' } }, 'tls: has no meaning with "security": "none"'],
    [{ from: 'ä@example.test' }, 'from: contains non-ASCII characters before the @; they need SMTPUTF8'],
    [{ security: 'ssl' }, 'security'],
    [{ username: 'u' }, 'password: is missing'],
    [{ password: 'p' }, 'username: is missing'],
    [{ subject: 'two\nlines' }, 'subject'],
    [{ subject: '{nothing}' }, 'subject: has an unknown placeholder'],
    [{ headers: { Subject: 'x' } }, 'headers.Subject'],
    [{ headers: { 'content-type': 'x' } }, 'headers.content-type'],
    [{ headers: { 'auto-Submitted': 'no' } }, 'headers.auto-Submitted'],
    [{ headers: { 'X Y': 'x' } }, 'headers.X Y'],
    [{ headers: { 'X-A': 'a\r\nBcc: b@example.test' } }, 'headers.X-A'],
    [{ headers: { 'X-A': 'a', 'x-a': 'b' } }, 'headers.x-a: appears twice'],
    [{ attachment: { format: 'csv', rows_path: 'items' } }, 'attachment.rows_path'],
    [{ attachment: { format: 'xml', root: 'a b' } }, 'attachment.root'],
    [{ attachment: { format: 'xml', root: 'xmlish' } }, 'attachment.root'],
    [{ attachment: { format: 'json', filename: '../a.json' } }, 'attachment.filename: must be only a file name'],
    [{ attachment: { format: 'pdf' } }, 'attachment'],
    [{ dkim: { domain: 'd.test', selector: 's; t=1', private_key: 'k' } }, 'dkim.selector'],
    [
      { dkim: { domain: 'd.test', selector: 's', private_key: 'k', headers: ['To'] } },
      'dkim.headers: must include From',
    ],
    [{ dkim: { domain: 'd.test', selector: 's' } }, 'dkim.private_key: is required'],
    [{ ehlo_name: 'a b' }, 'ehlo_name'],
    [{ bounce_to: 'x' }, 'bounce_to'],
    [{ host: '{payload.host}' }, 'host'],
    [{ retries: 3 }, 'Unrecognized key'],
  ])('rejects %j', (given, problem) => {
    expect(problems(given).join('\n')).toContain(problem)
  })

  it('shows no secret, and all other fields', () => {
    const dkim = { domain: 'd.test', selector: 's', private_key: SECRET }
    const given = { ...LEAST, username: 'u', password: SECRET, tls: { client_key: SECRET }, dkim }
    expect(maskSecrets(emailConfig, given)).toEqual({
      ...LEAST,
      username: 'u',
      password: '***',
      tls: { client_key: '***' },
      dkim: { ...dkim, private_key: '***' },
    })
  })

  it('may take part or all of its login from a credential', () => {
    const credentials = new Map([['smtp', { fields: { username: 'u', password: SECRET }, allowed_hosts: null }]])
    const resolved = resolveSecrets(emailConfig, { ...LEAST, credentials: 'smtp' }, credentials)
    expect(resolved).toMatchObject({ username: 'u', password: SECRET })
    expect(problems({ username: 'u', credentials: 'smtp' })).toEqual([])
  })
})

describe('a value from the payload', () => {
  it.each([
    ['a@example.test, b@evil.test'],
    ['a@example.test\r\nRCPT TO:<b@evil.test>'],
    ['a@example.test> SIZE=1 <b@evil.test'],
    ['b@evil.test,'],
    ['"a"@example.test'],
    ['not an address'],
    ['a@example.test b@evil.test'],
    [''],
    ['@'],
    ['ä@example.test'],
  ])('is at most one recipient: %j', async (email) => {
    const error = await refusal({ to: ['{payload.email}'] }, { email })
    expect(error).toMatchObject({ code: 'MISCONFIGURED', retryable: false })
    expect(error.message).toContain('to[0]')
    expect(error.message).not.toContain('evil')
  })

  it('is exactly one recipient, with any name', async () => {
    const given = { to: ['{payload.name} <{payload.email}>'] }
    const { recipients, bytes } = await compose(
      aConfig(25, given),
      aMessage({ body: Buffer.from(JSON.stringify({ name: 'Eve" <eve@evil.test>, "', email: 'Ann@MÜNCHEN.test' })) }),
    )
    expect(recipients).toEqual(['Ann@xn--mnchen-3ya.test'])
    const to = /^To: (.*)$/m.exec(bytes.toString().replace(/\r\n[ \t]+/g, ' '))![1]!
    // Quoted or encoded: outside of quotes there is one address alone.
    expect(to.replace(/"(\\.|[^"\\])*"/g, '').match(/[^\s<>]+@[^\s<>]+/g)).toEqual(['Ann@xn--mnchen-3ya.test'])
  })

  it.each([
    ['subject', { subject: 'about {payload.x}' }],
    ['headers.X-Ref', { headers: { 'X-Ref': '{payload.x}' } }],
    ['to[0]', { to: ['{payload.x} <a@example.test>'] }],
  ])('adds no header through %s', async (field, given) => {
    for (const x of ['a\r\nBcc: b@evil.test', 'a\nb', 'a\rb', 'a\0b', 'a\x85b']) {
      const error = await refusal(given, { x })
      expect(error).toMatchObject({ code: 'MISCONFIGURED' })
      expect(error.message).toContain(field)
    }
  })

  it('is escaped in HTML, and unchanged in text', async () => {
    const x = `<script>alert("1")</script> & '`
    const text = await mail({ html: '<p title="{payload.x}">{payload.x}</p>', text: '{payload.x}' }, { x })
    const escaped = '&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt; &amp; &#39;'
    expect(decoded(text)).toContain(`<p title="${escaped}">${escaped}</p>`)
    expect(decoded(text)).toContain(`\r\n\r\n${x}\r\n`)
  })

  it('cannot end a line of the mail or begin another one', async () => {
    const { bytes } = await compose(
      aConfig(25, { text: '{payload.x}', attachment: { format: 'none' } }),
      aMessage({ body: Buffer.from(JSON.stringify({ x: 'a\r.\rQUIT\n.\nb\0c\x1b' })) }),
    )
    expect(bytes.toString('latin1')).not.toMatch(/\r(?!\n)|(?<!\r)\n|[^\t\r\n -~]/)
  })

  it('cannot change the folder or type of the file', async () => {
    const given = { attachment: { format: 'json', filename: '{payload.x}.json' } }
    expect(await mail(given, { x: '../../etc/passwd' })).toContain('filename=__.._etc_passwd.json'.replace('..', '_'))
    expect(await mail(given, { x: 'a"; name="b\r\nX: y' })).not.toMatch(/^X: y/m)
    expect(await refusal(given, { x: 'x'.repeat(300) })).toMatchObject({ code: 'MISCONFIGURED' })
  })

  it.each([
    ['Subject', { subject: 'about {payload.long}' }, 'contains a word that is too long for a line of a mail'],
    ['X-Ref', { headers: { 'X-Ref': '{payload.long}' } }, 'contains a word that is too long for a line of a mail'],
    ['To', { to: ['{payload.long} <a@example.test>'] }, 'contains a word that is too long for a line of a mail'],
    ['References', { headers: { References: '{payload.wide}' } }, 'cannot contain non-ASCII characters'],
  ])('is rejected when the header field %s cannot contain it', async (field, given, problem) => {
    const error = await refusal(given, { long: 'y'.repeat(999), wide: 'ü' })
    expect(error).toMatchObject({ code: 'MISCONFIGURED', message: `the header field ${field} ${problem}` })
  })

  it('is MISCONFIGURED when it is missing', async () => {
    for (const given of [{ subject: '{payload.x}' }, { text: '{payload.x}' }, { to: ['{payload.x}'] }]) {
      const error = await refusal(given, { y: 1 })
      expect(error.message).toBe('the placeholder {payload.x} finds no text, number or boolean')
    }
  })
})

describe('the mail', () => {
  it('has the headers of automatic mail, and the same Message-ID in each attempt', async () => {
    const message = aMessage()
    const config = aConfig(25, { from: 'R <r@münchen.test>', bounce_to: 'b@bounce.test', bcc: ['secret@example.test'] })
    const [first, second] = [await compose(config, message), await compose(config, { ...message, attempt_number: 2 })]
    expect(first.message_id).toBe(`<${message.delivery_id}@xn--mnchen-3ya.test>`)
    expect(second.message_id).toBe(first.message_id)
    expect(first.sender).toBe('b@bounce.test')
    const text = first.bytes.toString()
    expect(text).toContain(`Message-ID: ${first.message_id}\r\n`)
    expect(text).toContain('Auto-Submitted: auto-generated\r\n')
    expect(text).toMatch(new RegExp(`^X-Distribution-ID: ${message.distribution_id}\r$`, 'im'))
    expect(text).toMatch(/^Date: .*\r$/m)
    expect(text).not.toMatch(/secret@example|X-Mailer|nodemailer/i)
  })

  it('has no line beyond 998 bytes and no non-ASCII character', async () => {
    const x = `${'word '.repeat(1000)}ü€😀${'y'.repeat(3000)}`
    const text = await compose(
      aConfig(25, {
        subject: 'über {payload.s} 😀',
        text: '{payload.x}',
        html: '{payload.x}',
        headers: { 'X-Ref': 'é' },
      }),
      aMessage({ body: Buffer.from(JSON.stringify({ x, s: 'y'.repeat(500) })) }),
    )
    const lines = text.bytes.toString('latin1').split('\r\n')
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(998)
    expect(text.bytes.toString('latin1')).not.toMatch(/[^\t\r\n -~]/)
  })

  it.each([[undefined], [['From', 'Subject', 'Date']]])(
    'has a DKIM signature (RFC 6376), headers %j',
    async (headers) => {
      const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
      const private_key = privateKey.export({ type: 'pkcs8', format: 'pem' }) as string
      const { bytes } = await compose(
        aConfig(25, {
          subject: 'ünïcode   and  spaces',
          text: 'a line  \n.dot\n\n\n',
          dkim: { domain: 'sender.test', selector: 's1', private_key, ...(headers && { headers }) },
        }),
        aMessage(),
      )
      const { tags, signed, bodyHash } = dkimOf(bytes)
      expect(tags).toMatchObject({ v: '1', a: 'rsa-sha256', c: 'relaxed/relaxed', d: 'sender.test', s: 's1' })
      expect(tags.bh).toBe(bodyHash)
      const names = tags.h!.toLowerCase().split(':')
      if (headers) expect(names).toEqual(headers.map((name) => name.toLowerCase()))
      else expect(names).toEqual(expect.arrayContaining(['from', 'to', 'subject', 'date', 'message-id']))
      const verified = (text: string) =>
        createVerify('RSA-SHA256').update(text, 'latin1').verify(publicKey, tags.b!, 'base64')
      expect(verified(signed)).toBe(true)
      expect(verified(signed.replace('subject:', 'subject:x'))).toBe(false)
    },
  )

  it.each([
    ['no key', 'nonsense'],
    [
      'an EC key',
      generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ type: 'pkcs8', format: 'pem' }),
    ],
    [
      'a short key',
      generateKeyPairSync('rsa', { modulusLength: 512 }).privateKey.export({ type: 'pkcs8', format: 'pem' }),
    ],
  ])('is not sent unsigned when the key is not usable: %s', async (_, private_key) => {
    const error = await refusal({ dkim: { domain: 'd.test', selector: 's', private_key: private_key as string } }, {})
    expect(error).toMatchObject({ code: 'MISCONFIGURED' })
    expect(error.message).toMatch(/^dkim\.private_key /)
  })
})

/** What a verifier has to do: relaxed/relaxed of RFC 6376, 3.4.2 and 3.4.4, and the data of 3.7. */
function dkimOf(bytes: Buffer) {
  const text = bytes.toString('latin1')
  const end = text.indexOf('\r\n\r\n')
  const fields = text
    .slice(0, end)
    .split(/\r\n(?![ \t])/)
    .map((field) => ({ name: field.slice(0, field.indexOf(':')).toLowerCase(), field }))
  const relaxed = ({ name, field }: (typeof fields)[number]) =>
    `${name}:${field
      .slice(field.indexOf(':') + 1)
      .replace(/\r\n/g, '')
      .replace(/[ \t]+/g, ' ')
      .trim()}`
  const signature = fields.find(({ name }) => name === 'dkim-signature')!
  const tags: Record<string, string> = Object.fromEntries(
    relaxed(signature)
      .slice('dkim-signature:'.length)
      .split(';')
      .filter((tag) => tag.trim() !== '')
      .map((tag) => [tag.slice(0, tag.indexOf('=')).trim(), tag.slice(tag.indexOf('=') + 1).replace(/\s/g, '')]),
  )
  const signed = [
    ...tags.h!.split(':').map((name) => fields.findLast((field) => field.name === name.toLowerCase())!),
    { ...signature, field: signature.field.replace(/(;\s*b=)[^;]*$/, '$1') },
  ]
  const body = text
    .slice(end + 4)
    .replace(/[ \t]+(?=\r\n|$)/g, '')
    .replace(/[ \t]+/g, ' ')
    .replace(/(\r\n)*$/, '\r\n')
  return {
    tags,
    signed: signed.map(relaxed).join('\r\n'),
    bodyHash: createHash('sha256').update(body, 'latin1').digest('base64'),
  }
}

/** Quoted-printable undone, over all of the mail. */
function decoded(text: string): string {
  const bytes = text
    .replace(/=\r\n/g, '')
    .replace(/=([0-9A-F]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
  return Buffer.from(bytes, 'latin1').toString('utf8')
}
