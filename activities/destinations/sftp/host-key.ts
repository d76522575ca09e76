// The identity of the server: its public key, recognised by its fingerprint.
import { createHash } from 'node:crypto'

export interface HostCheck {
  /** Whether this key is trusted; ssh2 calls it at each key exchange. */
  verify(key: Buffer): boolean
  /** The key that the server showed last, as `ssh-keygen -l` prints it; undefined before that. */
  shown(): { fingerprint: string; type: string; trusted: boolean } | undefined
  /** The trusted fingerprints, for a message. */
  expected: string
}

/** @param pinned fingerprints of the configuration, or `any` */
export function createHostCheck(pinned: string | readonly string[]): HostCheck {
  const trusted = typeof pinned === 'string' ? [pinned] : pinned
  let shown: ReturnType<HostCheck['shown']>
  return {
    verify(key) {
      const fingerprint = `SHA256:${createHash('sha256').update(key).digest('base64').replace(/=+$/, '')}`
      shown = { fingerprint, type: typeOf(key), trusted: pinned === 'any' || trusted.includes(fingerprint) }
      return shown.trusted
    },
    shown: () => shown,
    expected: trusted.join(' or '),
  }
}

/** RFC 4253, section 6.6: a key begins with the name of its type. */
function typeOf(key: Buffer): string {
  const length = key.length >= 4 ? key.readUInt32BE(0) : 0
  const name = key.toString('latin1', 4, 4 + Math.min(length, 64))
  return /^[a-z0-9@.-]+$/.test(name) ? name : 'unknown'
}
