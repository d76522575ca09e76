// The configuration of an EMAIL destination.
import { z } from 'zod'
import { csvFields, xmlFields } from '../../formats/fields.ts'
import type { RetryDefaults } from '../destination.ts'
import { host, retryDelaysSeconds, template, timeoutSeconds, tls } from '../fields.ts'
import {
  configuration,
  deciding,
  optionalCredentialField,
  optionalSecret,
  type Resolved,
  secret,
} from '../secrets/secret.ts'
import { refuseOwned } from '../template/owned-names.ts'
import { hasPlaceholders } from '../template/placeholders.ts'
import { mailboxProblem, readAddress, readMailbox } from './addresses.ts'
import { mailHeaderProblem } from './owned-headers.ts'

/**
 * Greylisting delays a mail for 1 to 15 minutes, and RFC 5321, 4.5.4.1 requires half an hour between retries. The default
 * three retries cover 21 minutes.
 */
export const MAIL_RETRIES: RetryDefaults = { delays_seconds: [60, 300, 900, 1800], life_seconds: 3600 }

/** Postfix and others accept more, but spam filters often block a mail to many recipients. */
const MAX_RECIPIENTS = 100

/** A subset of the domain names and selectors of RFC 6376, 3.5. */
const DOMAIN = /^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/i

const mailbox = z
  .string()
  .max(500)
  .superRefine((value, context) => {
    const problem = literalProblem(value, readMailbox(value))
    if (problem) context.addIssue({ code: 'custom', message: problem })
  })

/** An address may contain braces, but `{tenant_id}` is certainly meant as a placeholder. */
function literalProblem(value: string, read: ReturnType<typeof readAddress>): string | undefined {
  if ('problem' in read) return read.problem
  return hasPlaceholders(value) ? 'has a placeholder, but cannot have one' : undefined
}

const recipient = z
  .string()
  .min(1)
  .max(500)
  .superRefine((value, context) => {
    const problem = mailboxProblem(value)
    if (problem) context.addIssue({ code: 'custom', message: problem })
  })

const filename = (usual: string) =>
  template(255)
    .refine((name) => !/[/\\"<>|:*?]/.test(name), 'must be only a file name')
    .default(usual)
    .describe('Name of the file; the values of placeholders are made safe')

/** The default; no user chose this name. */
export const JSON_FILENAME = '{distribution_id}.json'

const attachment = z.discriminatedUnion('format', [
  z.strictObject({ format: z.literal('none') }),
  z.strictObject({ format: z.literal('json'), filename: filename(JSON_FILENAME) }),
  z.strictObject({
    format: z.literal('csv'),
    filename: filename('{distribution_id}.csv'),
    rows_path: z
      .string()
      .max(500)
      .regex(/^payload(\.[^.[\]{}]+|\[\d+\])*$/, 'must be a path such as payload.items')
      .default('payload')
      .describe('Path of the rows: a list of objects, or one object'),
    ...csvFields,
  }),
  z.strictObject({
    format: z.literal('xml'),
    filename: filename('{distribution_id}.xml'),
    ...xmlFields,
  }),
])

const headers = z
  .record(
    z
      .string()
      .regex(/^[A-Za-z0-9-]{1,76}$/, 'is not a header name')
      .superRefine(refuseOwned(mailHeaderProblem)),
    template(2000),
  )
  .superRefine((value, context) => {
    const seen = new Set<string>()
    for (const name of Object.keys(value)) {
      if (seen.has(name.toLowerCase())) context.addIssue({ code: 'custom', path: [name], message: 'appears twice' })
      seen.add(name.toLowerCase())
    }
  })

export const emailConfig = configuration({
  host: host(),
  port: deciding(z.int().min(1).max(65535))
    .optional()
    .describe('TCP port; by default 587 with `starttls`, 465 with `tls` and 25 with `none`'),
  security: deciding(z.enum(['starttls', 'tls', 'none']))
    .default('starttls')
    .describe(
      '`starttls` fails if the server has no TLS; `none` sends everything, including a password, in plain text',
    ),
  tls: tls(),
  username: optionalCredentialField().describe('User name, for AUTH PLAIN or LOGIN'),
  password: optionalSecret().describe('Password'),
  ehlo_name: z
    .string()
    .max(255)
    .regex(DOMAIN, 'must be a host name')
    .optional()
    .describe('Name of the client in EHLO; by default its own address'),
  from: mailbox.describe('`local@domain` or `Name <local@domain>`'),
  bounce_to: z
    .string()
    .max(254)
    .superRefine((value, context) => {
      const problem = literalProblem(value, readAddress(value))
      if (problem) context.addIssue({ code: 'custom', message: problem })
    })
    .optional()
    .describe('Address for reports of mail that could not be delivered, instead of the one in `from`'),
  reply_to: mailbox.optional().describe('Address for replies'),
  to: z
    .array(recipient)
    .min(1)
    .max(MAX_RECIPIENTS)
    .describe('Recipients; each must be one address, also after its placeholders are filled in'),
  cc: z.array(recipient).max(MAX_RECIPIENTS).default([]).describe('Further recipients, visible to all'),
  bcc: z.array(recipient).max(MAX_RECIPIENTS).default([]).describe('Further recipients, hidden from all'),
  subject: template(500).default('{data_type} {distribution_id}').describe('Subject, one line'),
  text: template(100_000, { lines: true })
    .default('Distribution {distribution_id} of type {data_type}.')
    .describe('Text of the mail'),
  html: template(200_000, { lines: true })
    .optional()
    .describe('The same as HTML; the values of placeholders are escaped'),
  attachment: attachment
    .default({ format: 'json', filename: JSON_FILENAME })
    .describe('The payload as an attached file'),
  headers: headers.default({}).describe('Further header fields; their values may hold placeholders'),
  dkim: z
    .strictObject({
      domain: z.string().max(253).regex(DOMAIN, 'must be a domain name').describe('Signing domain (d=)'),
      selector: z.string().max(100).regex(DOMAIN, 'must be a selector').describe('Name of the key in DNS (s=)'),
      private_key: secret().describe('PEM of an RSA key of 1024 bits or more'),
      headers: z
        .array(z.string().regex(/^[A-Za-z0-9-]{1,76}$/, 'is not a header name'))
        .max(50)
        .refine((names) => names.some((name) => name.toLowerCase() === 'from'), 'must include From')
        .optional()
        .describe('Header fields to sign; by default those of RFC 6376'),
    })
    .optional()
    .describe('DKIM signature, relaxed/relaxed, rsa-sha256'),
  max_message_bytes: z
    .int()
    .min(1024)
    .max(1024 ** 3)
    .default(52_428_800)
    .describe('A larger mail is not offered to the server'),
  timeout_seconds: timeoutSeconds(),
  retry_delays_seconds: retryDelaysSeconds(MAIL_RETRIES.delays_seconds),
}).superRefine((value, context) => {
  const { to, cc, bcc, username, password, credentials, security, tls } = value
  if (to.length + cc.length + bcc.length > MAX_RECIPIENTS) {
    context.addIssue({ code: 'custom', path: ['to'], message: `to, cc and bcc can have ${MAX_RECIPIENTS} recipients` })
  }
  if (security === 'none' && Object.values(tls).some((field) => field !== undefined)) {
    context.addIssue({ code: 'custom', path: ['tls'], message: 'has no meaning with "security": "none"' })
  }
  if (credentials === undefined && (username === undefined) !== (password === undefined)) {
    const missing = username === undefined ? 'username' : 'password'
    context.addIssue({
      code: 'custom',
      path: [missing],
      message: 'is missing: give both username and password, or neither',
    })
  }
})

export type EmailConfig = Resolved<z.output<typeof emailConfig>>

const PORTS = { starttls: 587, tls: 465, none: 25 } as const

export function portOf(config: Pick<EmailConfig, 'port' | 'security'>): number {
  return config.port ?? PORTS[config.security]
}
