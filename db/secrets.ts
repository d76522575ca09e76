// Encryption of stored secrets: AES-256-GCM with named keys. A sealed text can be decrypted only with the context that
// it was sealed for (tenant, row, column), so that a value copied to another tenant's row is useless there.
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'

const VERSION = 'v1'
const IV_BYTES = 12
const TAG_BYTES = 16
const KEY_BYTES = 32

export interface Sealer {
  /**
   * `v1.<key id>.<base64url of iv, tag and ciphertext>`, encrypted with the first key. Each call gives another text.
   */
  seal(plaintext: string, context: string[]): string
  /** Decrypts a text that was sealed for this context with any of the keys; throws `UnsealError` otherwise. */
  unseal(sealed: string, context: string[]): string
  /** The ids of all keys. The first one is the key that `seal` uses. */
  keyIds(): Set<string>
}

/** A sealed text cannot be decrypted. The message never contains the text, neither sealed nor decrypted. */
export class UnsealError extends Error {
  override name = 'UnsealError'
  /** The id of the key that the text names; undefined when the text is not a sealed text. */
  readonly keyId: string | undefined

  constructor(message: string, keyId?: string) {
    super(message)
    this.keyId = keyId
  }
}

/**
 * A sealer for `ENCRYPTION_KEYS`: one or more `id:base64`, separated by commas, each key with 32 bytes. The first key
 * encrypts, all keys decrypt. Throws on a malformed list; the message names the id, never the key.
 */
export function createSealer(keys: string): Sealer {
  const byId = parseKeys(keys)
  const [writingId, writingKey] = [...byId][0]!

  return {
    seal(plaintext, context) {
      const iv = randomBytes(IV_BYTES)
      const cipher = createCipheriv('aes-256-gcm', writingKey, iv, { authTagLength: TAG_BYTES })
      cipher.setAAD(associatedData(writingId, context))
      const ciphertext = Buffer.concat([cipher.update(plaintext, 'utf8'), cipher.final()])
      return `${VERSION}.${writingId}.${Buffer.concat([iv, cipher.getAuthTag(), ciphertext]).toString('base64url')}`
    },

    unseal(sealed, context) {
      const [version, keyId, body, ...rest] = sealed.split('.')
      if (version !== VERSION || !keyId || !body || rest.length > 0) throw new UnsealError('not a sealed text')
      const key = byId.get(keyId)
      if (!key) throw new UnsealError(`sealed with the key ${keyId}, which is not among the given ones`, keyId)
      const bytes = Buffer.from(body, 'base64url')
      if (bytes.length < IV_BYTES + TAG_BYTES) throw new UnsealError('not a sealed text')
      const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(0, IV_BYTES), { authTagLength: TAG_BYTES })
      decipher.setAAD(associatedData(keyId, context))
      decipher.setAuthTag(bytes.subarray(IV_BYTES, IV_BYTES + TAG_BYTES))
      try {
        return Buffer.concat([decipher.update(bytes.subarray(IV_BYTES + TAG_BYTES)), decipher.final()]).toString('utf8')
      } catch {
        throw new UnsealError('sealed for another context, with another key of this id, or altered since', keyId)
      }
    },

    keyIds: () => new Set(byId.keys()),
  }
}

/** The id of the key that a sealed text needs; undefined when the text is not a sealed text. */
export function sealedKeyId(sealed: string): string | undefined {
  const parts = sealed.split('.')
  return parts.length === 3 && parts[0] === VERSION ? parts[1] : undefined
}

/** Encoded as JSON, so that ['a', 'bc'] and ['ab', 'c'] give different bytes. */
function associatedData(keyId: string, context: string[]): Buffer {
  return Buffer.from(JSON.stringify([VERSION, keyId, ...context]), 'utf8')
}

function parseKeys(keys: string): Map<string, Buffer> {
  const byId = new Map<string, Buffer>()
  for (const entry of keys.split(',')) {
    const [, id, encoded] = /^\s*([A-Za-z0-9_-]{1,40})\s*:\s*([A-Za-z0-9+/_-]+={0,2})\s*$/.exec(entry) ?? []
    if (!id || !encoded) throw new Error('encryption keys must be a list of id:base64, separated by commas')
    const key = Buffer.from(encoded, 'base64')
    if (key.length !== KEY_BYTES)
      throw new Error(`encryption key ${id} must have ${KEY_BYTES} bytes, it has ${key.length}`)
    if (byId.has(id)) throw new Error(`encryption key ${id} is given twice`)
    byId.set(id, key)
  }
  return byId
}
