// Writes the mail; nodemailer makes MIME and the DKIM signature. Text is encoded as quoted-printable and files as base64, so
// that every byte arrives through servers that accept only ASCII and lines of 998 characters.

import { createPrivateKey } from 'node:crypto'
import { setImmediate as othersFirst } from 'node:timers/promises'
import nodemailer from 'nodemailer'
import { nowDate } from '../../../db/clock.ts'
import type { Message } from '../destination.ts'
import { DeliveryError } from '../errors.ts'
import { fillTemplate } from '../template/placeholders.ts'
import { domainOf, fillMailbox, type Mailbox, readMailbox } from './addresses.ts'
import { attachmentOf } from './attachment.ts'
import type { EmailConfig } from './config.ts'

export interface Composed {
  bytes: Buffer
  /** With angle brackets; the same for all attempts of a delivery. */
  message_id: string
  sender: string
  /** The recipients of the envelope: each address once, in the order of to, cc and bcc. */
  recipients: string[]
}

/** Without the line end. */
const MAX_LINE = 998

// With these settings no payload can make nodemailer read a file or fetch a URL.
const composer = nodemailer.createTransport({
  streamTransport: true,
  buffer: true,
  newline: 'windows',
  disableFileAccess: true,
  disableUrlAccess: true,
})

let before: Promise<unknown> = Promise.resolve()

/**
 * Writes one mail after the other: nodemailer blocks the event loop while it writes one, and with a hundred large mails at
 * once, timers and heartbeats would wait for all of them.
 * @throws DeliveryError MISCONFIGURED when a placeholder has no value, or one that is not allowed in its place
 */
export function compose(config: EmailConfig, message: Message): Promise<Composed> {
  const composed = before.then(() => othersFirst()).then(() => write(config, message))
  before = composed.catch(() => {})
  return composed
}

async function write(config: EmailConfig, message: Message): Promise<Composed> {
  const from = ourMailbox(config.from)
  const to = fillAll('to', config.to, message)
  const cc = fillAll('cc', config.cc, message)
  const bcc = fillAll('bcc', config.bcc, message)
  const message_id = `<${message.delivery_id}@${domainOf(from.address)}>`
  const sender = config.bounce_to === undefined ? from.address : ourMailbox(config.bounce_to).address
  const recipients = distinct([...to, ...cc, ...bcc].map((each) => each.address))
  const attachment = await attachmentOf(config.attachment, message)
  const { message: bytes } = await composer.sendMail({
    envelope: { from: sender, to: recipients },
    from,
    to,
    cc,
    ...(config.reply_to !== undefined && { replyTo: ourMailbox(config.reply_to) }),
    subject: fillLine('subject', config.subject, message),
    date: nowDate(),
    messageId: message_id,
    headers: {
      ...Object.fromEntries(
        Object.entries(config.headers).map(([name, value]) => [name, fillLine(`headers.${name}`, value, message)]),
      ),
      // Prevents out-of-office replies (RFC 3834).
      'Auto-Submitted': 'auto-generated',
      'X-Distribution-Id': message.distribution_id,
    },
    text: fillLines(config.text, config, message),
    ...(config.html !== undefined && { html: fillLines(config.html, config, message, escapeHtml) }),
    textEncoding: 'quoted-printable',
    attachments: attachment ? [{ ...attachment, contentTransferEncoding: 'base64' }] : [],
    ...(config.dkim && { dkim: signature(config.dkim) }),
  })
  assertHeader(bytes as Buffer)
  return { bytes: bytes as Buffer, message_id, sender, recipients }
}

/**
 * A header line can be broken between words only, and some fields cannot contain non-ASCII characters: a server may refuse
 * such a mail, or break its lines anywhere (RFC 5322, 2.1.1).
 */
function assertHeader(mail: Buffer): void {
  const header = mail.subarray(0, mail.indexOf('\r\n\r\n')).toString('latin1')
  for (const field of header.split(/\r\n(?![ \t])/)) {
    const name = field.slice(0, field.indexOf(':'))
    if (field.split('\r\n').some((line) => line.length > MAX_LINE)) {
      throw new DeliveryError(
        'MISCONFIGURED',
        `the header field ${name} contains a word that is too long for a line of a mail`,
      )
    }
    if (/[^\t\r\n -~]/.test(field)) {
      throw new DeliveryError('MISCONFIGURED', `the header field ${name} cannot contain non-ASCII characters`)
    }
  }
}

function ourMailbox(text: string): Mailbox {
  const read = readMailbox(text)
  if ('problem' in read) throw new DeliveryError('MISCONFIGURED', `from, reply_to or bounce_to ${read.problem}`)
  return read
}

function fillAll(field: string, templates: readonly string[], message: Message): Mailbox[] {
  return templates.map((template, index) => fillMailbox(`${field}[${index}]`, template, message))
}

/** Some servers distinguish upper and lower case in mailbox names, so only equal addresses are the same. */
function distinct(addresses: string[]): string[] {
  return [...new Set(addresses)]
}

function fillLine(field: string, template: string, message: Message): string {
  return fillTemplate(template, message, (value, placeholder) => {
    if (!/\p{Cc}/u.test(value)) return value
    throw new DeliveryError('MISCONFIGURED', `{${placeholder}} puts a control character into ${field}`)
  })
}

/** Stops before a long value in many places becomes a text that is too large for the memory. */
function fillLines(
  template: string,
  { max_message_bytes }: EmailConfig,
  message: Message,
  write = (value: string) => value,
): string {
  let length = template.length
  const filled = fillTemplate(template, message, (value) => {
    const written = write(value)
    length += written.length
    if (length <= max_message_bytes) return written
    throw new DeliveryError('REJECTED', `the mail is too large: "max_message_bytes" allows ${max_message_bytes} bytes`)
  })
  return lines(filled)
}

/** Makes all line ends CRLF, and other control characters visible. */
function lines(text: string): string {
  return text.replace(/\r\n?|\n/g, '\r\n').replace(/[^\P{Cc}\t\r\n]/gu, '\ufffd')
}

const HTML: Record<string, string> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
  '`': '&#96;',
}

function escapeHtml(value: string): string {
  return value.replace(/[&<>"'`]/g, (character) => HTML[character]!)
}

/** nodemailer would leave the mail unsigned when the key is not usable; here that is an error. */
function signature({ domain, selector, private_key, headers }: NonNullable<EmailConfig['dkim']>) {
  let problem: string | undefined
  try {
    const key = createPrivateKey(private_key)
    const bits = key.asymmetricKeyDetails?.modulusLength ?? 0
    if (key.asymmetricKeyType !== 'rsa' || bits < 1024) problem = 'must be an RSA key of 1024 bits or more'
  } catch {
    problem = 'is not the PEM of a private key'
  }
  if (problem) throw new DeliveryError('MISCONFIGURED', `dkim.private_key ${problem}`)
  return {
    domainName: domain,
    keySelector: selector,
    privateKey: private_key,
    ...(headers && { headerFieldNames: headers.join(':') }),
  }
}
