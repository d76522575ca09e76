// S3: one object per delivery. Its key is the same for all attempts, so that a repeat writes the same bytes to the same
// key.
import type { PutObjectCommandOutput, S3Client } from '@aws-sdk/client-s3'
import { defineDestination, type Receipt } from '../destination.ts'
import { DeliveryError } from '../errors.ts'
import { deadlineMs, probeMs } from '../fields.ts'
import { type Attempt, withinDeadline } from '../network/deadline.ts'
import type { Egress } from '../network/egress.ts'
import { targetOfUrl } from '../network/target.ts'
import { tlsMaterial } from '../network/tls.ts'
import { clientOf, loadSdk, type Sdk } from './client.ts'
import { DELIVERY_ID, type S3Config, s3Config } from './config.ts'
import { createExchange, type Exchange } from './exchange.ts'
import { codeIn, s3Failure } from './failure.ts'
import { type ObjectInput, objectOf } from './object.ts'

/** Larger objects are uploaded in parts of this size, one after another, to bound the bytes in flight. */
const PART_BYTES = 8 * 1024 * 1024

export const s3 = defineDestination({
  protocol: 'S3',
  config: s3Config,
  example: {
    endpoint: 'https://store.example',
    bucket: 'reports',
    key: '{payload.period}/{payload.report_id}.json',
    credentials: 'store',
  },
  documentation: {
    delivered: 'the object was stored completely',
    repeat: 'not needed: the same key, the same bytes',
    again: '5xx, `SlowDown`, timeout, network',
    final: 'missing bucket, wrong region, no permission',
  },
  gzip: true,
  target: ({ endpoint }) => targetOfUrl(new URL(endpoint)),
  deadlineMs,

  async deliver(config, message, signal, { egress }) {
    signal.throwIfAborted()
    const input = await objectOf(config, message)
    const timeoutMs = config.timeout_seconds * 1000
    return withinDeadline({ timeoutMs, signal, expects: 'answer' }, (attempt) =>
      withClient(config, attempt, egress, async (sdk, client, exchange) => {
        try {
          return receiptOf(input, await put(sdk, client, input))
        } catch (error) {
          if (config.if_exists !== 'refuse' || exchange.answer?.status !== 412) throw error
          return await written(sdk, client, exchange, input, message.delivery_id)
        }
      }),
    )
  },

  /**
   * Lists one key of the bucket. `AccessDenied` counts as success: the signature was correct, and the credential of a
   * destination needs only the permission to write.
   */
  async probe(config, signal, { egress }) {
    const timeoutMs = probeMs(config)
    await withinDeadline({ timeoutMs, signal, expects: 'answer' }, (attempt) =>
      withClient(config, attempt, egress, async (sdk, client) => {
        const listing = { Bucket: config.bucket, MaxKeys: 1, ExpectedBucketOwner: config.expected_bucket_owner }
        try {
          const { Name } = await client.send(new sdk.s3.ListObjectsV2Command(listing))
          if (Name === undefined) throw new Error('the listing does not have the name of the bucket')
        } catch (error) {
          if (codeIn(error) !== 'AccessDenied') throw error
        }
      }),
    )
  },
})

/** Runs `work` with a client for this attempt. Errors of the store or the network become DeliveryErrors. */
async function withClient<T>(
  config: S3Config,
  attempt: Attempt,
  egress: Egress,
  work: (sdk: Sdk, client: S3Client, exchange: Exchange) => Promise<T>,
): Promise<T> {
  const exchange = createExchange({ egress, attempt, tls: tlsMaterial(config.tls) })
  const sdk = await loadSdk()
  const client = clientOf(sdk, config, exchange)
  try {
    return await work(sdk, client, exchange)
  } catch (error) {
    const secrets = [config.secret_access_key, config.session_token].filter((secret) => secret !== undefined)
    throw s3Failure(error, exchange, secrets)
  } finally {
    client.destroy()
  }
}

async function put(sdk: Sdk, client: S3Client, input: ObjectInput): Promise<PutObjectCommandOutput> {
  if (input.Body.length <= PART_BYTES) return client.send(new sdk.s3.PutObjectCommand(input))
  // After a failure, Upload deletes the parts (exchange.ts bounds the time for that).
  return new sdk.Upload({ client, params: input, partSize: PART_BYTES, queueSize: 1 }).done()
}

/**
 * The key already exists. That is a success if an earlier attempt of this delivery wrote it and its answer was lost.
 */
async function written(
  sdk: Sdk,
  client: S3Client,
  exchange: Exchange,
  { Bucket, Key, ExpectedBucketOwner, ...input }: ObjectInput,
  delivery_id: string,
): Promise<Receipt> {
  const response = { status: 412, body: null }
  try {
    const head = await client.send(new sdk.s3.HeadObjectCommand({ Bucket, Key, ExpectedBucketOwner }))
    if (head.Metadata?.[DELIVERY_ID] === delivery_id) return receiptOf({ Bucket, Key, ...input }, head)
  } catch (error) {
    if (exchange.answer?.status === 404) {
      throw new DeliveryError('DESTINATION_UNAVAILABLE', 'the object with this key no longer exists', {
        response,
        answered: true,
      })
    }
    // The credential may write but not read, so it is unknown which delivery wrote the object.
    if (exchange.answer?.status !== 403) throw error
  }
  throw new DeliveryError('REJECTED', 'an object with this key already exists', { response })
}

function receiptOf({ Bucket, Key }: ObjectInput, output: { ETag?: string; VersionId?: string }): Receipt {
  if (output.ETag === undefined) throw new Error('the answer to a write has no ETag')
  return {
    status: 200,
    body: null,
    metadata: {
      bucket: Bucket,
      key: Key,
      etag: output.ETag,
      ...(output.VersionId !== undefined && { version_id: output.VersionId }),
    },
  }
}
