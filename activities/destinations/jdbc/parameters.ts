// What the drivers' tables of URL parameters are made of.

/** How TLS is asked for. Certificates are always verified: `verify-ca` leaves out the name in the certificate alone. */
export type TlsMode = 'disable' | 'verify-ca' | 'verify-full'

export interface TlsParameters {
  tls: TlsMode
  /** Some parameter has said so already. */
  tls_stated?: boolean
}

/**
 * For parameters that ask for TLS (`secure`: of whatever mode) or for plain text. Several may, as long as they agree: one
 * that asks for plain text never undoes another.
 */
export function stateTls(into: TlsParameters, mode: TlsMode | 'secure'): void {
  if (into.tls_stated && (mode === 'disable') !== (into.tls === 'disable')) {
    throw new UrlError('contradicts another parameter: the one asks for TLS, the other for plain text')
  }
  into.tls_stated = true
  if (mode !== 'secure') into.tls = mode
}

/** What a driver's URL parameters mean here: a reader for each that has a meaning, and those that do no harm. */
export interface ParameterTable<Parameters> {
  defaults: Parameters
  /** Changes `into`, or throws a UrlError. */
  readers: Record<string, (value: string, into: Parameters) => void>
  /** Known to the driver; here they mean nothing, and leaving them out changes nothing that is written. */
  ignored: readonly string[]
}

/** What is wrong with a URL, in words for whoever wrote it. */
export class UrlError extends Error {}

/** Reads `true` and `false` as JDBC drivers do; a name without a value is true. */
export function boolean(value: string): boolean {
  if (value === '' || /^(true|yes)$/i.test(value)) return true
  if (/^(false|no)$/i.test(value)) return false
  throw new UrlError('must be true or false')
}

/** Readers of parameters that are refused, with the reason. */
export function refusing(names: string[], reason: string): Record<string, () => never> {
  return Object.fromEntries(
    names.map((name) => [
      name,
      () => {
        throw new UrlError(reason)
      },
    ]),
  )
}
