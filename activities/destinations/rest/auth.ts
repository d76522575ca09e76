// Authenticates a request.
import { DeliveryError } from '../errors.ts'
import type { RestAuth } from './config.ts'

/** What authentication adds to a request. */
export interface Proof {
  headers: Record<string, string>
  /** A query parameter, already encoded. */
  query?: string
  /** Secrets that must not appear in a stored response, in addition to those of the configuration. */
  secrets: string[]
}

/** The proof for each kind of authentication; for OAuth2 the caller passes the token. */
export function proofOf(auth: RestAuth, token?: string): Proof {
  switch (auth.type) {
    case 'none':
      return { headers: {}, secrets: [] }
    case 'basic': {
      if (auth.username.includes(':')) throw new DeliveryError('MISCONFIGURED', 'auth.username: contains a colon')
      const pair = Buffer.from(`${auth.username}:${auth.password}`).toString('base64')
      return { headers: { authorization: `Basic ${pair}` }, secrets: [pair] }
    }
    case 'bearer':
      return bearer(auth.token, 'auth.token')
    case 'oauth2':
      return bearer(token!, 'auth')
    case 'api_key':
      return auth.in === 'header'
        ? { headers: { [auth.name.toLowerCase()]: headerValue(auth.api_key, 'auth.api_key') }, secrets: [] }
        : {
            headers: {},
            query: `${encodeURIComponent(auth.name)}=${encodeURIComponent(auth.api_key)}`,
            secrets: [],
          }
  }
}

function bearer(token: string, field: string): Proof {
  return { headers: { authorization: `Bearer ${headerValue(token, field)}` }, secrets: [token] }
}

/**
 * A secret as the value of a header, in UTF-8.
 * @throws DeliveryError MISCONFIGURED that names the field: a line break at the end is a common mistake
 */
export function headerValue(value: string, field: string): string {
  if (/[^\P{Cc}\t]/u.test(value)) {
    throw new DeliveryError('MISCONFIGURED', `${field}: has a line break or another control character`)
  }
  return Buffer.from(value, 'utf8').toString('latin1')
}
