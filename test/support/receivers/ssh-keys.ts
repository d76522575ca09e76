// Key pairs as people make them: with ssh-keygen.
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export interface KeyPairOptions {
  type?: 'ed25519' | 'rsa' | 'ecdsa'
  /** None when left out. */
  passphrase?: string
  /** OpenSSH's own when left out; it writes Ed25519 in no other. */
  format?: 'PEM' | 'PKCS8'
}

export interface KeyPair {
  private_key: string
  /** A line of authorized_keys. */
  public_key: string
}

export function makeKeyPair({ type = 'ed25519', passphrase = '', format }: KeyPairOptions = {}): KeyPair {
  const folder = mkdtempSync(join(tmpdir(), 'distributor-key-'))
  try {
    const file = join(folder, 'key')
    const options = ['-q', '-t', type, '-N', passphrase, '-C', 'test', '-f', file, ...(format ? ['-m', format] : [])]
    execFileSync('ssh-keygen', options, { stdio: 'pipe' })
    return { private_key: readFileSync(file, 'utf8'), public_key: readFileSync(`${file}.pub`, 'utf8') }
  } finally {
    rmSync(folder, { recursive: true })
  }
}
