// Configuration fields that several protocols share.
import { X509Certificate } from 'node:crypto'
import { z } from 'zod'
import { targetOf, targetOfUrl, targetText } from './network/target.ts'
import { hostName } from './secrets/allowed-hosts.ts'
import { deciding, optionalSecret, type Resolved, reaching } from './secrets/secret.ts'
import { placeholderProblem, templateUrl } from './template/placeholders.ts'

/** A host name or an IP address. No placeholders: the payload must not choose the server. */
export function host() {
  return reaching(
    z
      .string()
      .max(253)
      .regex(/^(\[[0-9a-fA-F:.]+\]|[^\s/\\@:{}[\]]+|[0-9a-fA-F:.]+)$/, 'must be only a host name or an IP address')
      .refine((value) => targetOf(value, 0) !== undefined, 'must be only a host name or an IP address'),
    (value) => value.replace(/^\[|\]$/g, ''),
    hostName,
  ).describe('Host name or IP address')
}

export function port(usual: number) {
  return deciding(z.int().min(1).max(65535)).default(usual).describe('TCP port')
}

/** Scheme, host and port of a URL; the text itself if it is not a URL. */
export function originOf(text: string): string {
  const url = templateUrl(text)
  const target = url && targetOfUrl(url)
  return target ? targetText(url.protocol, target) : text
}

const USUAL_SECONDS = 30
/** A person waits for the result of a probe. */
const MAX_PROBE_MS = 10_000

/** One deadline for the whole attempt. */
export function timeoutSeconds() {
  return z
    .number()
    .min(1)
    .max(600)
    .default(USUAL_SECONDS)
    .describe('Time for one attempt, from connecting to the last byte of the answer')
}

/** The deadline from `timeoutSeconds`. A stored configuration may omit it; one that was edited in SQL may hold any value. */
export function deadlineMs({ timeout_seconds: stated }: { timeout_seconds?: unknown }): number {
  return (typeof stated === 'number' ? stated : USUAL_SECONDS) * 1000
}

/** The deadline of a probe. */
export function probeMs(config: { timeout_seconds?: unknown }): number {
  return Math.min(deadlineMs(config), MAX_PROBE_MS)
}

/** For a protocol with its own retry delays. */
export function retryDelaysSeconds(usual: readonly number[] = []) {
  return z
    .array(z.int().min(1).max(86_400))
    .min(1)
    .max(20)
    .optional()
    .describe(
      `Seconds before the first retry, the second and so on; the last value repeats. By default ${usual.join(', ')}`,
    )
}

const tlsFields = z
  .strictObject({
    ca: deciding(
      z
        .string()
        .max(262144)
        // OpenSSL ignores any other text: it then trusts no authority, and reports no reason.
        .refine(isCertificate, 'must be certificates as PEM, not the name of a file'),
    )
      .optional()
      .describe('PEM of the authorities to trust instead of the public ones'),
    client_certificate: z.string().max(262144).optional().describe('PEM of the client certificate, for mutual TLS'),
    client_key: optionalSecret().describe('PEM of its private key'),
    client_key_passphrase: optionalSecret().describe('Passphrase of the private key'),
    server_name: deciding(z.string().max(253))
      .optional()
      .describe("Name in the server's certificate, if it differs from the host"),
  })
  .superRefine(({ client_certificate, client_key }, context) => {
    if (client_key === undefined || client_certificate !== undefined) return
    context.addIssue({ code: 'custom', path: ['client_key'], message: 'needs its "client_certificate"' })
  })

function isCertificate(pem: string): boolean {
  try {
    return new X509Certificate(pem).raw.length > 0
  } catch {
    return false
  }
}

export type TlsConfig = Resolved<z.output<typeof tlsFields>>

/** The trusted authorities, and the client certificate. */
export function tls() {
  return tlsFields.default({}).describe('Own certificate authorities, and mutual TLS')
}

/** Whether any TLS field is set. */
export function statesTls(tls: z.output<typeof tlsFields>): boolean {
  return Object.values(tls).some((field) => field !== undefined)
}

/** A text that may hold placeholders; a single line unless `lines` is set. */
export function template(max: number, { lines = false } = {}) {
  return z
    .string()
    .max(max)
    .superRefine((value, context) => {
      const problem = (lines ? /[^\P{Cc}\t\r\n]/u : /\p{Cc}/u).test(value)
        ? 'has a control character'
        : /\p{Cs}/u.test(value)
          ? 'has a lone surrogate (half of a character)'
          : placeholderProblem(value)
      if (problem) context.addIssue({ code: 'custom', message: problem })
    })
}
