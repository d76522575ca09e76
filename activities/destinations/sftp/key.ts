// Private keys in the usual formats: OpenSSH's, the older PEM, PuTTY's, and PKCS#8, which ssh2 does not read.
import { createHash, createPrivateKey, type KeyObject } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import ssh2, { type ParsedKey } from 'ssh2'
import { DeliveryError } from '../errors.ts'

const PKCS8 = /-----BEGIN (ENCRYPTED )?PRIVATE KEY-----/
const OPENSSH = /-----BEGIN OPENSSH PRIVATE KEY-----([\s\S]+?)-----/
const MAGIC = 'openssh-key-v1\0'
const MAX_KEYS = 100

/** By hash of text and passphrase: decrypting a key takes half a second of CPU by design. */
const keys = new LRUCache<string, ParsedKey>({ max: MAX_KEYS })

/** @throws DeliveryError MISCONFIGURED that contains no part of the key */
export function privateKey(text: string, passphrase: string | undefined): ParsedKey {
  const hash = createHash('sha256')
    .update(JSON.stringify([text, passphrase]))
    .digest('base64')
  const key = keys.get(hash) ?? parse(text, passphrase)
  keys.set(hash, key)
  return key
}

function parse(text: string, passphrase: string | undefined): ParsedKey {
  const encrypted = isEncrypted(text)
  if (encrypted && passphrase === undefined)
    throw misconfigured('private_key is encrypted; its "passphrase" is missing')
  const parsed: ParsedKey | ParsedKey[] | Error = PKCS8.test(text)
    ? fromPkcs8(text, passphrase)
    : ssh2.utils.parseKey(text, encrypted ? passphrase : undefined)
  const key = Array.isArray(parsed) ? (parsed as ParsedKey[])[0] : parsed
  // The error of the parser is left out: it may quote the key.
  if (key instanceof Error || key === undefined) {
    throw misconfigured(
      encrypted
        ? 'the passphrase does not decrypt private_key'
        : 'private_key cannot be read: it must be a complete RSA, ECDSA or Ed25519 key, with its BEGIN and END lines',
    )
  }
  if (!key.isPrivateKey()) throw misconfigured('private_key is a public key; state the private one')
  return key
}

function misconfigured(message: string): DeliveryError {
  return new DeliveryError('MISCONFIGURED', message)
}

function isEncrypted(text: string): boolean {
  const body = OPENSSH.exec(text)?.[1]
  if (body !== undefined) {
    const bytes = Buffer.from(body, 'base64')
    // The name of the cipher follows the magic string (PROTOCOL.key of OpenSSH).
    if (bytes.length < MAGIC.length + 4) return false
    const length = bytes.readUInt32BE(MAGIC.length)
    return bytes.toString('latin1', MAGIC.length + 4, MAGIC.length + 4 + length) !== 'none'
  }
  return /^Proc-Type: 4,ENCRYPTED|-----BEGIN ENCRYPTED PRIVATE KEY-----|^Encryption: (?!none)/m.test(text)
}

function fromPkcs8(text: string, passphrase: string | undefined): ParsedKey | Error {
  try {
    const key = createPrivateKey({ key: text.trim(), ...(passphrase !== undefined && { passphrase }) })
    if (key.asymmetricKeyType === 'rsa') return ssh2.utils.parseKey(key.export({ type: 'pkcs1', format: 'pem' }))
    if (key.asymmetricKeyType === 'ec') return ssh2.utils.parseKey(key.export({ type: 'sec1', format: 'pem' }))
    if (key.asymmetricKeyType === 'ed25519') return ssh2.utils.parseKey(ed25519(key))
    return new Error('not a type of key that SSH supports')
  } catch {
    return new Error('not a PKCS#8 key, or another passphrase')
  }
}

/** ssh2 reads Ed25519 keys only in OpenSSH's format. */
function ed25519(key: KeyObject): string {
  const { x, d } = key.export({ format: 'jwk' })
  const type = field('ssh-ed25519')
  const point = Buffer.from(x!, 'base64url')
  // Starts with two equal numbers, by which a reader checks the passphrase; this key has none.
  const body = Buffer.concat([
    Buffer.alloc(8),
    type,
    field(point),
    field(Buffer.concat([Buffer.from(d!, 'base64url'), point])),
    field(''),
  ])
  const padding = Buffer.from(Array.from({ length: -body.length & 7 }, (_, at) => at + 1))
  const bytes = Buffer.concat([
    Buffer.from(MAGIC),
    field('none'),
    field('none'),
    field(''),
    Buffer.from([0, 0, 0, 1]),
    field(Buffer.concat([type, field(point)])),
    field(Buffer.concat([body, padding])),
  ])
  const lines = bytes.toString('base64').replace(/.{70}/g, '$&\n').trimEnd()
  return `-----BEGIN OPENSSH PRIVATE KEY-----\n${lines}\n-----END OPENSSH PRIVATE KEY-----\n`
}

function field(value: string | Buffer): Buffer {
  const bytes = Buffer.from(value)
  const length = Buffer.alloc(4)
  length.writeUInt32BE(bytes.length)
  return Buffer.concat([length, bytes])
}
