// Types and readers for the drivers' tables of URL parameters.

/** The TLS mode. Certificates are always verified; `verify-ca` only skips the check of the host name. */
export type TlsMode = 'disable' | 'verify-ca' | 'verify-full'

export interface TlsParameters {
  tls: TlsMode
  /** A parameter has already set the mode. */
  tls_stated?: boolean
}

/**
 * Applies a parameter that asks for TLS (`secure`: in any mode) or for plain text. Several such parameters must agree,
 * so that a request for plain text never cancels a request for TLS.
 */
export function stateTls(into: TlsParameters, mode: TlsMode | 'secure'): void {
  if (into.tls_stated && (mode === 'disable') !== (into.tls === 'disable')) {
    throw new UrlError('contradicts another parameter: one asks for TLS, the other for plain text')
  }
  into.tls_stated = true
  if (mode !== 'secure') into.tls = mode
}

/** A driver's URL parameters: a reader for each one that has an effect here, and the names that can be ignored. */
export interface ParameterTable<Parameters> {
  defaults: Parameters
  /** Changes `into`, or throws a UrlError. */
  readers: Record<string, (value: string, into: Parameters) => void>
  /** The driver knows these. They have no effect here, and do not change what is written. */
  ignored: readonly string[]
}

/** Its message is the problem of a URL; it is shown to the tenant. */
export class UrlError extends Error {}

/** Reads `true` and `false` as JDBC drivers do: a parameter without a value is true. */
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
