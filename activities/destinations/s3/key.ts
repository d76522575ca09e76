// The key (name) of an object.
import type { Message } from '../destination.ts'
import { DeliveryError } from '../errors.ts'
import { fillTemplate, hasPlaceholders, literalText } from '../template/placeholders.ts'

/** S3's limit, in bytes of UTF-8. */
const MAX_KEY_BYTES = 1024

/** The problem with a key that may contain placeholders; undefined when there is none. */
export function keyProblem(template: string): string | undefined {
  if (template === '') return 'must not be empty'
  if (hasPlaceholders(template, 'attempt_number')) {
    return 'has {attempt_number}: each repeat would create another object; use {delivery_id}'
  }
  if (Buffer.byteLength(literalText(template)) > MAX_KEY_BYTES) return `is longer than ${MAX_KEY_BYTES} bytes`
  return hasBadSegment(template.replace(/\{[^{}]*\}/g, 'x')) ? BAD_SEGMENT : undefined
}

/**
 * @throws DeliveryError MISCONFIGURED for a placeholder without a value, or with a value that would move the object out of
 * the folder that the template names
 */
export function objectKey(template: string, message: Message): string {
  const key = fillTemplate(template, message, (value, name) => {
    const found = /[/\\\p{Cc}]/u.exec(value)?.[0]
    if (found === undefined) return value
    const what = found === '/' || found === '\\' ? `"${found}"` : 'a control character'
    throw new DeliveryError('MISCONFIGURED', `key: {${name}} contains ${what}`)
  })
  if (hasBadSegment(key)) throw new DeliveryError('MISCONFIGURED', `key: ${BAD_SEGMENT} when filled in`)
  if (Buffer.byteLength(key) > MAX_KEY_BYTES) {
    throw new DeliveryError('MISCONFIGURED', `key: is longer than ${MAX_KEY_BYTES} bytes when filled in`)
  }
  return key
}

const BAD_SEGMENT = 'has an empty segment, "." or ".." between slashes'

function hasBadSegment(key: string): boolean {
  return key.split('/').some((segment) => /^\.{0,2}$/.test(segment))
}
