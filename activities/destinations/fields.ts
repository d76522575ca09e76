// Fields that several protocols share, in one wording.
import { X509Certificate } from 'node:crypto'
import { z } from 'zod'
import { targetOf, targetOfUrl, targetText } from './network/target.ts'
import { hostName } from './secrets/allowed-hosts.ts'
import { deciding, optionalSecret, type Resolved, reaching } from './secrets/secret.ts'
import { placeholderProblem, templateUrl } from './template/placeholders.ts'

/** A host name or a literal address; never a placeholder, for the payload must not choose who is reached. */
export function host() {
  return reaching(
    z
      .string()
      .max(253)
      .regex(/^(\[[0-9a-fA-F:.]+\]|[^\s/\\@:{}[\]]+|[0-9a-fA-F:.]+)$/, 'must be a host name or an IP address alone')
      .refine((value) => targetOf(value, 0) !== undefined, 'must be a host name or an IP address alone'),
    (value) => value.replace(/^\[|\]$/g, ''),
    hostName,
  ).describe('Host name or IP address')
}

export function port(usual: number) {
  return deciding(z.int().min(1).max(65535)).default(usual).describe('TCP port')
}

/** Protocol, host and port of a URL; the text itself where it is none. */
export function originOf(text: string): string {
  const url = templateUrl(text)
  const target = url && targetOfUrl(url)
  return target ? targetText(url.protocol, target) : text
}

const USUAL_SECONDS = 30
/** A probe answers a person who waits. */
const MAX_PROBE_MS = 10_000

/** One deadline for the whole of an attempt. */
export function timeoutSeconds() {
  return z
    .number()
    .min(1)
    .max(600)
    .default(USUAL_SECONDS)
    .describe('Time for one attempt, from connecting to the last byte of the answer')
}

/** The deadline that `timeoutSeconds` states. A stored configuration may leave it out, and one written by hand hold anything. */
export function deadlineMs({ timeout_seconds: stated }: { timeout_seconds?: unknown }): number {
  return (typeof stated === 'number' ? stated : USUAL_SECONDS) * 1000
}

/** The deadline of a probe. */
export function probeMs(config: { timeout_seconds?: unknown }): number {
  return Math.min(deadlineMs(config), MAX_PROBE_MS)
}

/** For a protocol whose delays are not the common ones. */
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
        // OpenSSL takes any other text for no authorities at all: then nobody is trusted, and nobody told why.
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

/** Certificates: whom to trust, and who we are. */
export function tls() {
  return tlsFields.default({}).describe('Own certificate authorities, and mutual TLS')
}

/** Whether anything is said about TLS. */
export function statesTls(tls: z.output<typeof tlsFields>): boolean {
  return Object.values(tls).some((field) => field !== undefined)
}

/** A text that may hold placeholders; one line unless said otherwise. */
export function template(max: number, { lines = false } = {}) {
  return z
    .string()
    .max(max)
    .superRefine((value, context) => {
      const problem = (lines ? /[^\P{Cc}\t\r\n]/u : /\p{Cc}/u).test(value)
        ? 'has a control character'
        : /\p{Cs}/u.test(value)
          ? 'has half a character (a lone surrogate)'
          : placeholderProblem(value)
      if (problem) context.addIssue({ code: 'custom', message: problem })
    })
}
