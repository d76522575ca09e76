// Mail on a real server: what arrives, over which kind of connection, and what the server refuses.
import { randomUUID } from 'node:crypto'
import { XMLValidator } from 'fast-xml-parser'
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest'
import { certificate } from '../../support/receivers/http.ts'
import { type Mailpit, type MailpitMessage, startMailpit } from '../../support/receivers/mailpit.ts'
import { describeWith, INSTALL_MS } from '../../support/receivers/needs.ts'
import { failureOf, SECRET, WRONG } from './contract.ts'
import { aConfig, failed, probe, scripted, send } from './mailing.ts'

const describe = await describeWith('mailpit')
const LOGIN = { username: 'distributor', password: SECRET }

let inboxes = 0

/** A recipient that nobody else writes to. */
function inbox(): string {
  inboxes += 1
  return `inbox-${inboxes}@example.test`
}

describe('a mail on Mailpit', () => {
  let mailpit: Mailpit
  beforeAll(async () => {
    mailpit = await startMailpit({
      auth: LOGIN,
      recipients: '@example\\.test$',
      max_recipients: 3,
    })
  }, INSTALL_MS)
  afterAll(() => mailpit?.close())
  afterEach(() => mailpit.chaos({}))

  const config = (given: Record<string, unknown> = {}) => aConfig(mailpit.port, { ...LOGIN, ...given })

  async function arrived(given: Record<string, unknown>, body: string | Buffer = '{}'): Promise<MailpitMessage> {
    const to = inbox()
    await send(config({ to: [to], ...given }), { body: Buffer.from(body) })
    const messages = await mailpit.messages(to)
    expect(messages).toHaveLength(1)
    return messages[0]!
  }

  describe('arrives', () => {
    it('with its placeholders filled in, and with all its headers', async () => {
      const [to, cc, bcc] = [inbox(), inbox(), inbox()]
      const receipt = await send(
        config({
          from: 'Berichte & Co <reports@sender.test>',
          reply_to: 'answers@sender.test',
          to: [`"Müller, Ann" <${to}>`],
          cc: [cc],
          bcc: [bcc],
          subject: 'Bericht {payload.id} für {payload.who} 😀',
          text: 'Grüße an {payload.who}\n{{braces}}',
          html: '<p>{payload.who}</p>',
          headers: { 'X-Report': '{payload.id} ä' },
        }),
        { body: Buffer.from('{"id": 12345678901234567890.10, "who": "Zoë <b>&</b>"}') },
      )
      const [message] = await mailpit.messages(to)
      expect(message).toMatchObject({
        from: 'reports@sender.test',
        to: [to],
        cc: [cc],
        bcc: [bcc],
        subject: 'Bericht 12345678901234567890.10 für Zoë <b>&</b> 😀',
        text: 'Grüße an Zoë <b>&</b>\r\n{braces}',
        html: '<p>Zoë &lt;b&gt;&amp;&lt;/b&gt;</p>',
        message_id: receipt.metadata!.message_id,
      })
      const raw = message!.raw.toString()
      expect(raw).toMatch(/^Auto-Submitted: auto-generated\r$/m)
      expect(raw).toMatch(/^X-Distribution-ID: dist_0190f6a0-0000-7000-8000-000000000001\r$/m)
      expect(raw).toMatch(/^Reply-To: answers@sender.test\r$/m)
      expect(raw).toMatch(/^Return-Path: <reports@sender.test>\r$/m)
      // Mailpit adds the Bcc of the envelope on top; the mail itself has none.
      expect(raw.slice(raw.indexOf('Received:'))).not.toContain(bcc)
      expect(receipt).toMatchObject({ status: 250, metadata: { recipients: [{ status: 'accepted' }, {}, {}] } })
    })

    it('line by line, with dots, long lines, blanks at the end, and all of Unicode', async () => {
      const lines = [
        '.',
        '..',
        '.x',
        'From me',
        ' blanks  ',
        '\ttab\t',
        '',
        'x'.repeat(5000),
        'é€😀'.repeat(400),
        '=3D',
        'end.',
      ]
      const text = lines.join('\n').replaceAll('{', '{{')
      const message = await arrived({ text, attachment: { format: 'none' } })
      // The last line of a mail has its end too.
      expect(message.text).toBe(`${lines.join('\r\n')}\r\n`)
    })

    it('with dots at the start of lines of HTML that needs no encoding', async () => {
      const html = '<pre>\n.\n..a\n.b\n</pre>'
      const message = await arrived({ html, attachment: { format: 'none' } })
      expect(message.html.replaceAll('\r\n', '\n')).toBe(html)
    })

    it('with every byte of the accepted JSON', async () => {
      const body =
        '{"b": 1.0,\r\n "a":12345678901234567890,"b":"\\u00e9\\/ü😀",\t"z" : [ ] , "\\ud800": ".\\r\\n."}\n.\r\n'
      const message = await arrived({}, body)
      expect(message.attachments).toMatchObject([
        { filename: 'dist_0190f6a0-0000-7000-8000-000000000001.json', content_type: 'application/json' },
      ])
      expect(message.attachments[0]!.content.toString()).toBe(body)
    })

    it('with a large JSON, complete', async () => {
      const body = Buffer.from(JSON.stringify({ text: '.\n'.repeat(2_000_000) }))
      const message = await arrived({ timeout_seconds: 20 }, body)
      expect(message.attachments[0]!.content.equals(body)).toBe(true)
    })

    it('with rows as CSV: numbers digit by digit, text quoted, formulas made harmless', async () => {
      const body = `{"items": [
        {"id": 9223372036854775807, "price": 1.0, "text": "a,\\"b\\"\\nc", "=cmd": "=1+1"},
        {"id": -5, "text": "+49 30", "more": {"n": 1.50, "l": [1, 2]}, "none": null},
        {"text": "-1", "price": "@x", "yes": true, "id": "\\tü"}]}`
      const given = { format: 'csv', rows_path: 'payload.items', filename: 'rows-{payload.items[0].id}.csv' }
      const message = await arrived({ attachment: given }, body)
      expect(message.attachments[0]).toMatchObject({ filename: 'rows-9223372036854775807.csv' })
      expect(message.attachments[0]!.content_type).toContain('text/csv')
      expect(message.attachments[0]!.content.toString()).toBe(
        [
          "id,price,text,'=cmd,more,none,yes",
          `9223372036854775807,1.0,"a,""b""\nc",'=1+1,,,`,
          `-5,,'+49 30,,"{""n"":1.50,""l"":[1,2]}",,`,
          `'\tü,'@x,'-1,,,,true`,
          '',
        ].join('\r\n'),
      )
      const kept = await arrived(
        { attachment: { ...given, formulas: 'keep', columns: ['price', 'id'], delimiter: 'semicolon' } },
        body,
      )
      expect(kept.attachments[0]!.content.toString()).toBe(
        ['price;id', '1.0;9223372036854775807', ';-5', '@x;\tü', ''].join('\r\n'),
      )
    })

    it.each([
      ['{"items": [1]}', 'row 0 at payload.items is not an object'],
      ['{"items": "x"}', 'payload.items is neither a list of objects nor an object'],
      ['{}', 'payload.items is neither a list of objects nor an object'],
    ])('not as CSV when there are no rows: %s', async (body, what) => {
      const error = await failed(config({ attachment: { format: 'csv', rows_path: 'payload.items' } }), {
        body: Buffer.from(body),
      })
      expect(error).toMatchObject({ code: 'MISCONFIGURED', message: `attachment: ${what}` })
    })

    it('with the payload as XML: well-formed whatever its keys are, numbers digit by digit', async () => {
      const body = `{"id": 9223372036854775807, "price": 1.0, "a b": "<&>\\"'", "xml": "", "__proto__": {"x": 1},
        "list": [1, null, {"k": [[]]}], "o": {}, "text": " a\\r\\nb\\u0000\\ud800\\u001b ", "1": true, "#text": "t", ":@": "u",
        "q\\"\\n": "]]>"}`
      const message = await arrived({ attachment: { format: 'xml', root: 'report' } }, body)
      expect(message.attachments[0]!.content_type).toContain('application/xml')
      const xml = message.attachments[0]!.content.toString()
      expect(xml).toBe(
        '<?xml version="1.0" encoding="UTF-8"?>\n<report>' +
          '<field name="1">true</field><id>9223372036854775807</id><price>1.0</price><field name="a b">&lt;&amp;&gt;&quot;\'</field>' +
          '<field name="xml"/><__proto__><x>1</x></__proto__>' +
          '<list><item>1</item><item nil="true"/><item><k><item/></k></item></list><o/>' +
          '<text> a&#13;\nb\ufffd\ufffd\ufffd </text><field name="#text">t</field><field name=":@">u</field>' +
          '<field name="q&quot;&#10;">]]&gt;</field></report>\n',
      )
      // Some other reader takes it too.
      expect(XMLValidator.validate(xml)).toBe(true)
    })

    it('with a file name in any language', async () => {
      const name = 'Übersicht „{payload.who}“ 2026.json'
      const message = await arrived({ attachment: { format: 'json', filename: name } }, '{"who": "Zoë/😀"}')
      expect(message.attachments[0]!.filename).toBe('Übersicht „Zoë_😀“ 2026.json')
    })

    it('without a file when none is configured', async () => {
      expect((await arrived({ attachment: { format: 'none' } })).attachments).toEqual([])
    })

    it('many at once', async () => {
      const to = inbox()
      await Promise.all(Array.from({ length: 30 }, () => send(config({ to: [to], timeout_seconds: 20 }))))
      const messages = await mailpit.messages(to)
      expect(new Set(messages.map((message) => message.message_id)).size).toBe(30)
    })
  })

  describe('to several', () => {
    it('of which one is refused: the others get the mail, and the attempt fails', async () => {
      const [one, two] = [inbox(), inbox()]
      const error = await failed(config({ to: [one, 'nobody@elsewhere.test', two] }))
      expect(error).toMatchObject({ code: 'REJECTED', retryable: false, response: { status: 550 } })
      expect(error.message).toBe('the server refused 1 of 3 recipients (550)')
      expect(error.metadata!.recipients).toMatchObject([
        { address: one, status: 'accepted', code: 250 },
        { address: 'nobody@elsewhere.test', status: 'refused', code: 550 },
        { address: two, status: 'accepted', code: 250 },
      ])
      expect(await mailpit.messages(one)).toHaveLength(1)
      expect(await mailpit.messages(two)).toHaveLength(1)
    })

    it('more than the server accepts at once: the rest is sent in another transaction, and each gets one mail', async () => {
      const all = [inbox(), inbox(), inbox(), inbox(), inbox()]
      const message = { delivery_id: randomUUID() }
      const receipt = await send(config({ to: all }), message)
      expect(receipt.metadata!.recipients).toEqual(
        all.map((address) => expect.objectContaining({ address, attempt: 1 })),
      )
      const copies = await mailpit.messages(all[0])
      const ours = copies.filter(({ message_id }) => message_id.includes(message.delivery_id))
      expect(ours).toHaveLength(2)
      // What the header names is the same for all; the envelope is told by who is missing from it.
      for (const { to } of ours) expect(to).toEqual(all)
    })

    it('of which all are deferred: the delivery is retried', async () => {
      const to = inbox()
      await mailpit.chaos({ recipient: { code: 451, probability: 100 } })
      const message = { delivery_id: randomUUID() }
      const error = await failed(config({ to: [to] }), message)
      expect(error).toMatchObject({ code: 'DESTINATION_UNAVAILABLE', retryable: true, response: { status: 451 } })
      await mailpit.chaos({})
      await send(config({ to: [to] }), { ...message, progress: error.progress })
      expect(await mailpit.messages(to)).toHaveLength(1)
    })
  })

  it.each([
    ['sender', 550, 'REJECTED'],
    ['sender', 421, 'THROTTLED'],
    ['recipient', 552, 'REJECTED'],
    ['authentication', 454, 'DESTINATION_UNAVAILABLE'],
    ['authentication', 535, 'UNAUTHORIZED'],
  ] as const)('whose %s is answered with %i means %s', async (what, code, expected) => {
    await mailpit.chaos({ [what]: { code, probability: 100 } })
    // A tenant of its own, for a login that was kept would not be asked again.
    const error = await failed(config(), { tenant_id: randomUUID() })
    expect(error).toMatchObject({ code: expected, response: { status: code } })
  })

  it('is sent over a new connection when the kept one is dead, within the attempt', async () => {
    const to = inbox()
    await send(config({ to: [to] }))
    await mailpit.restart()
    await send(config({ to: [to] }))
    expect(await mailpit.messages(to)).toHaveLength(2)
  })
})

describe.each(['starttls', 'tls'] as const)('a mail with security %s', (security) => {
  let mailpit: Mailpit
  beforeAll(async () => {
    const tls = { mode: security, cert: certificate('server.pem'), key: certificate('server.key') }
    mailpit = await startMailpit({ auth: LOGIN, tls })
  }, INSTALL_MS)
  afterAll(() => mailpit?.close())

  const config = (given: Record<string, unknown> = {}) =>
    aConfig(mailpit.port, { ...LOGIN, security, tls: { ca: certificate('ca.pem') }, ...given })

  it('arrives when the authority is trusted, at a server that requires TLS', async () => {
    const to = inbox()
    await send(config({ to: [to] }))
    await send(config({ to: [to] }))
    expect(await mailpit.messages(to)).toHaveLength(2)
    await probe(config())
  })

  it.each([
    ['the authority is not trusted', { tls: {} }],
    ['the certificate is for another name', { tls: { ca: certificate('ca.pem'), server_name: 'other.test' } }],
  ])('does not arrive when %s', async (_, given) => {
    const expected = { code: 'DESTINATION_UNAVAILABLE', retryable: true }
    const error = await failed(config(given))
    expect(error).toMatchObject(expected)
    expect(error.message).toMatch(/^no secure connection could be made/)
    expect(await failureOf(probe(config(given)))).toMatchObject(expected)
  })

  it('does not arrive with a wrong password', async () => {
    expect(await failed(config({ password: WRONG }))).toMatchObject({ code: 'UNAUTHORIZED', retryable: false })
  })

  it('does not arrive, and fails in time, when the server uses the other kind of TLS', async () => {
    const to = inbox()
    const other = security === 'tls' ? 'starttls' : 'tls'
    expect(await failed(config({ to: [to], security: other, timeout_seconds: 1 }))).toMatchObject({ retryable: true })
    expect(await mailpit.messages(to)).toEqual([])
  })

  it('does not arrive when the server has no TLS, and no secret is sent', async () => {
    const server = await scripted({ extensions: ['AUTH PLAIN'] })
    const error = await failed(aConfig(server.port, { ...LOGIN, security, timeout_seconds: 1 }))
    expect(error.code).toBe(security === 'tls' ? 'DESTINATION_UNAVAILABLE' : 'MISCONFIGURED')
    expect(server.commands.join()).not.toContain('AUTH')
    expect(server.mails).toEqual([])
  })
})

describe('a mail without TLS', () => {
  it('does not go to a server that requires TLS', async () => {
    const tls = { mode: 'starttls' as const, cert: certificate('server.pem'), key: certificate('server.key') }
    const mailpit = await startMailpit({ tls })
    try {
      expect(await failed(aConfig(mailpit.port))).toMatchObject({ retryable: false })
      expect(await mailpit.messages()).toEqual([])
    } finally {
      await mailpit.close()
    }
  })
})
