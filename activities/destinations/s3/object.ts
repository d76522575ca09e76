// The parameters of an object: its bytes and its metadata.
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import type { PutObjectCommandInput } from '@aws-sdk/client-s3'
import type { Message } from '../destination.ts'
import { DeliveryError } from '../errors.ts'
import { fillTemplate } from '../template/placeholders.ts'
import { DELIVERY_ID, type S3Config } from './config.ts'
import { objectKey } from './key.ts'

const compress = promisify(gzip)

export type ObjectInput = PutObjectCommandInput & { Bucket: string; Key: string; Body: Buffer }

/**
 * The parameters of the upload. The same for every attempt of a delivery, unless metadata uses the attempt's
 * placeholders.
 */
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
    throw new DeliveryError('MISCONFIGURED', `${field}: {${name}} contains a control character`)
  })
}

/**
 * Metadata is sent in headers. Texts that are not ASCII are encoded as in RFC 2047; S3 returns them in the same form.
 */
function headerText(text: string): string {
  return /^[\x20-\x7e]*$/.test(text) ? text : `=?UTF-8?B?${Buffer.from(text, 'utf8').toString('base64')}?=`
}
