// TLS for a configuration. Contexts are cached: creating one costs as much CPU as many requests.
import { createHash } from 'node:crypto'
import { type ConnectionOptions, createSecureContext, rootCertificates, type SecureContext } from 'node:tls'
import { LRUCache } from 'lru-cache'
import { DeliveryError } from '../errors.ts'
import type { TlsConfig } from '../fields.ts'

/** A context holds its certificates: about 100 kB with the public authorities. */
const MAX_CONTEXTS = 100

export interface TlsMaterial {
  ca?: string
  /** The public authorities are trusted in addition to `ca`. */
  public_too?: boolean
  cert?: string
  key?: string
  passphrase?: string
  servername?: string
}

/** By hash of their material. */
const contexts = new LRUCache<string, SecureContext>({ max: MAX_CONTEXTS })

/** @throws DeliveryError MISCONFIGURED when a certificate or key cannot be used */
export function tlsMaterial(tls: TlsConfig): TlsMaterial {
  const material: TlsMaterial = {
    ...(tls.ca !== undefined && { ca: tls.ca }),
    ...(tls.client_certificate !== undefined && { cert: tls.client_certificate }),
    ...(tls.client_key !== undefined && { key: tls.client_key }),
    ...(tls.client_key_passphrase !== undefined && { passphrase: tls.client_key_passphrase }),
    ...(tls.server_name !== undefined && { servername: tls.server_name }),
  }
  // OpenSSL would not send the certificate, and the server would close the connection. The key may be missing in a credential.
  if (material.cert !== undefined && material.key === undefined) {
    throw new DeliveryError('MISCONFIGURED', 'tls: "client_certificate" needs its "client_key"')
  }
  contextOf(material)
  return material
}

/** The options of Node's `tls.connect`, for `egress.connect`. */
export function tlsConnection(material: TlsMaterial): ConnectionOptions {
  return {
    secureContext: contextOf(material),
    ...(material.servername !== undefined && { servername: material.servername }),
  }
}

function contextOf({ servername: _, ...material }: TlsMaterial): SecureContext {
  const key = createHash('sha256').update(JSON.stringify(material)).digest('base64')
  const context = contexts.get(key) ?? createContext(material)
  contexts.set(key, context)
  return context
}

function createContext({ public_too, ca, ...rest }: TlsMaterial): SecureContext {
  try {
    return createSecureContext(ca === undefined ? rest : { ...rest, ca: public_too ? [...rootCertificates, ca] : ca })
  } catch (cause) {
    throw new DeliveryError('MISCONFIGURED', 'tls: a certificate, key or passphrase cannot be used', { cause })
  }
}
