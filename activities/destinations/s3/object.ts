// What an object is called and what is kept beside its bytes.
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import type { PutObjectCommandInput } from '@aws-sdk/client-s3'
import type { Message } from '../destination.ts'
import { DeliveryError } from '../errors.ts'
import { fillTemplate, hasPlaceholders, literalText } from '../placeholders.ts'
import type { S3Config } from './config.ts'

/** S3's limit, in bytes of UTF-8. */
const MAX_KEY_BYTES = 1024
/** Metadata that every object has; the first one tells a repeat. */
export const DELIVERY_ID = 'delivery-id'
export const OUR_METADATA = [DELIVERY_ID, 'distribution-id', 'tenant-id']

const compress = promisify(gzip)

/** What is wrong with a key that may hold placeholders; undefined when nothing is. */
export function keyProblem(template: string): string | undefined {
  if (template === '') return 'must not be empty'
  if (hasPlaceholders(template, 'attempt_number')) {
    return 'has {attempt_number}: each repeat would make one more object; use {delivery_id}'
  }
  if (Buffer.byteLength(literalText(template)) > MAX_KEY_BYTES) return `is longer than ${MAX_KEY_BYTES} bytes`
  return strayingSegment(template.replace(/\{[^{}]*\}/g, 'x')) ? STRAYING : undefined
}

/**
 * @throws DeliveryError MISCONFIGURED for a placeholder that finds nothing, or whose value would put the object
 * somewhere else than the template says
 */
export function objectKey(template: string, message: Message): string {
  const key = fillTemplate(template, message, (value, name) => {
    const found = /[/\\\p{Cc}]/u.exec(value)?.[0]
    if (found === undefined) return value
    const what = found === '/' || found === '\\' ? `"${found}"` : 'a control character'
    throw new DeliveryError('MISCONFIGURED', `key: {${name}} brings ${what}`)
  })
  if (strayingSegment(key)) throw new DeliveryError('MISCONFIGURED', `key: ${STRAYING} once it is filled in`)
  if (Buffer.byteLength(key) > MAX_KEY_BYTES) {
    throw new DeliveryError('MISCONFIGURED', `key: is longer than ${MAX_KEY_BYTES} bytes once it is filled in`)
  }
  return key
}

const STRAYING = 'has an empty segment, "." or ".." between slashes'

function strayingSegment(key: string): boolean {
  return key.split('/').some((segment) => /^\.{0,2}$/.test(segment))
}

export type ObjectInput = PutObjectCommandInput & { Bucket: string; Key: string; Body: Buffer }

/** All that S3 is told about the object: the same for every attempt of a delivery, but for metadata that asks for more. */
export async function objectOf(config: S3Config, message: Message): Promise<ObjectInput> {
  const zipped = config.compression === 'gzip' || message.compression === 'gzip'
  return {
    Bucket: config.bucket,
    Key: objectKey(config.key, message),
    Body: zipped ? await compress(message.body) : message.body,
    ContentType: config.content_type ?? message.content_type,
    ContentEncoding: zipped ? 'gzip' : undefined,
    ContentDisposition: config.content_disposition,
    CacheControl: config.cache_control,
    Metadata: metadataOf(config, message),
    Tagging: taggingOf(config, message),
    StorageClass: config.storage_class as PutObjectCommandInput['StorageClass'],
    ServerSideEncryption: config.server_side_encryption,
    SSEKMSKeyId: config.kms_key_id,
    ACL: config.acl,
    ExpectedBucketOwner: config.expected_bucket_owner,
    ChecksumAlgorithm:
      config.checksum === 'none'
        ? undefined
        : (config.checksum.toUpperCase() as PutObjectCommandInput['ChecksumAlgorithm']),
    IfNoneMatch: config.if_exists === 'refuse' ? '*' : undefined,
  }
}

function metadataOf(config: S3Config, message: Message): Record<string, string> {
  const stated = Object.entries(config.metadata).map(([name, template]) => [
    name.toLowerCase(),
    headerText(oneLine(`metadata.${name}`, template, message)),
  ])
  return {
    ...Object.fromEntries(stated),
    [DELIVERY_ID]: headerText(message.delivery_id),
    'distribution-id': headerText(message.distribution_id),
    'tenant-id': headerText(message.tenant_id),
  }
}

function taggingOf(config: S3Config, message: Message): string | undefined {
  const tags = Object.entries(config.tags).map(
    ([name, template]) =>
      `${encodeURIComponent(name)}=${encodeURIComponent(oneLine(`tags.${name}`, template, message))}`,
  )
  return tags.length > 0 ? tags.join('&') : undefined
}

function oneLine(field: string, template: string, message: Message): string {
  return fillTemplate(template, message, (value, name) => {
    if (!/\p{Cc}/u.test(value)) return value
    throw new DeliveryError('MISCONFIGURED', `${field}: {${name}} brings a control character`)
  })
}

/** Metadata travels in headers. What is not ASCII goes as RFC 2047 says, which is also how S3 gives it back. */
function headerText(text: string): string {
  return /^[\x20-\x7e]*$/.test(text) ? text : `=?UTF-8?B?${Buffer.from(text, 'utf8').toString('base64')}?=`
}
