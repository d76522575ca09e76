// Who the server is: its public key, told by its fingerprint.
import { createHash } from 'node:crypto'

export interface HostCheck {
  /** Whether this is the key of the server that is meant; called by ssh2, again when keys are renewed. */
  verify(key: Buffer): boolean
  /** What the server showed last, as `ssh-keygen -l` prints it; undefined before it showed a key. */
  shown(): { fingerprint: string; type: string; trusted: boolean } | undefined
  /** What was expected, for a person. */
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

/** RFC 4253, section 6.6: a key begins with the name of its kind. */
function typeOf(key: Buffer): string {
  const length = key.length >= 4 ? key.readUInt32BE(0) : 0
  const name = key.toString('latin1', 4, 4 + Math.min(length, 64))
  return /^[a-z0-9@.-]+$/.test(name) ? name : 'unknown'
}
