import { describe, expect, it } from 'vitest'
import { createSealer, sealedKeyId, UnsealError } from '../../db/secrets.ts'

const keyOf = (fill: number) => Buffer.alloc(32, fill).toString('base64')
const OLD = `old:${keyOf(1)}`
const NEW = `new:${keyOf(2)}`
const CONTEXT = ['demo', 'credential.erp', 'sealed']

describe('a sealer', () => {
  it.each(['', 'hunter2', 'Grüße, \u{1f511}, \u0000', 'x'.repeat(100_000)])(
    'gives back what it sealed',
    (plaintext) => {
      const sealer = createSealer(NEW)
      expect(sealer.unseal(sealer.seal(plaintext, CONTEXT), CONTEXT)).toBe(plaintext)
    },
  )

  it('writes version and key id, and never the same text twice', () => {
    const sealer = createSealer(NEW)
    const [first, second] = [sealer.seal('hunter2', CONTEXT), sealer.seal('hunter2', CONTEXT)]
    expect(first).toMatch(/^v1\.new\.[A-Za-z0-9_-]+$/)
    expect(first).not.toBe(second)
    expect(sealedKeyId(first)).toBe('new')
    expect(sealedKeyId('hunter2')).toBeUndefined()
  })

  it.each([
    { name: 'another tenant', context: ['other', 'credential.erp', 'sealed'] },
    { name: 'another row', context: ['demo', 'credential.crm', 'sealed'] },
    { name: 'less context', context: ['demo', 'credential.erp'] },
    { name: 'the same letters, cut elsewhere', context: ['democ', 'redential.erp', 'sealed'] },
  ])('does not open in the context of $name', ({ context }) => {
    const sealer = createSealer(NEW)
    const sealed = sealer.seal('hunter2', CONTEXT)
    expect(() => sealer.unseal(sealed, context)).toThrow(UnsealError)
  })

  it('writes with the first key and reads with all', () => {
    const sealed = createSealer(OLD).seal('hunter2', CONTEXT)
    const rotated = createSealer(`${NEW}, ${OLD}`)
    expect(rotated.unseal(sealed, CONTEXT)).toBe('hunter2')
    expect(sealedKeyId(rotated.seal('hunter2', CONTEXT))).toBe('new')
    expect([...rotated.keyIds()]).toEqual(['new', 'old'])
  })

  it('names the key that is missing', () => {
    const sealed = createSealer(OLD).seal('hunter2', CONTEXT)
    expect(() => createSealer(NEW).unseal(sealed, CONTEXT)).toThrow(/the key old,/)
  })

  it('refuses a key id that was exchanged, even when both keys are known', () => {
    const sealer = createSealer(`${NEW},${OLD}`)
    const sealed = sealer.seal('hunter2', CONTEXT)
    expect(() => sealer.unseal(sealed.replace('.new.', '.old.'), CONTEXT)).toThrow(UnsealError)
    const sameKey = createSealer(`new:${keyOf(2)},copy:${keyOf(2)}`)
    expect(() => sameKey.unseal(sealed.replace('.new.', '.copy.'), CONTEXT)).toThrow(UnsealError)
  })

  it('refuses a text of which any byte was changed or cut', () => {
    const sealer = createSealer(NEW)
    const [version, id, body] = sealer.seal('hunter2', CONTEXT).split('.')
    const bytes = Buffer.from(body!, 'base64url')
    for (let at = 0; at < bytes.length; at++) {
      const changed = Buffer.from(bytes)
      changed[at]! ^= 1
      const sealed = `${version}.${id}.${changed.toString('base64url')}`
      expect(() => sealer.unseal(sealed, CONTEXT), `byte ${at}`).toThrow(UnsealError)
      const cut = `${version}.${id}.${bytes.subarray(0, at).toString('base64url')}`
      expect(() => sealer.unseal(cut, CONTEXT), `cut at ${at}`).toThrow(UnsealError)
    }
  })

  it.each(['', 'hunter2', 'v1.new', 'v2.new.AAAA', 'v1.new.AAAA', 'v1.new.AAAA.AAAA'])(
    'refuses %j, which is no sealed text',
    (text) => {
      expect(() => createSealer(NEW).unseal(text, CONTEXT)).toThrow(/^not a sealed text$/)
    },
  )

  it.each([
    { keys: '', says: /list of id:base64/ },
    { keys: 'nocolon', says: /list of id:base64/ },
    { keys: `a.b:${keyOf(1)}`, says: /list of id:base64/ },
    { keys: 'short:AAAA', says: /key short must have 32 bytes, it has 3/ },
    { keys: `${NEW},${NEW}`, says: /key new is given twice/ },
  ])('refuses the key list $keys without showing a key', ({ keys, says }) => {
    expect(() => createSealer(keys)).toThrow(says)
    expect(() => createSealer(keys)).not.toThrow(keyOf(2))
  })
})
