// What S3 adds to the contract, on a real server: the object, its name, its versions, and what is kept beside its bytes.
import { gunzipSync } from 'node:zlib'
import {
  GetObjectCommand,
  GetObjectTaggingCommand,
  HeadObjectCommand,
  ListObjectVersionsCommand,
} from '@aws-sdk/client-s3'
import { beforeEach, expect, it } from 'vitest'
import { s3 } from '../../../activities/destinations/s3/index.ts'
import { describeWith } from '../../support/receivers/needs.ts'
import { aMessage, failureOf, never, surroundings } from './contract.ts'
import { MIB, Store } from './sending-s3.ts'

const describe = await describeWith('versitygw')

describe('an object in S3', () => {
  const store = new Store()

  describe('what is kept beside the bytes', () => {
    it('the ids of delivery, distribution and tenant are in the metadata, with what the configuration adds', async () => {
      const body = Buffer.from('{"report":{"title":"Größe 中"},"n":9223372036854775807}')
      const metadata = { Origin: 'MS09 {data_type}', title: '{payload.report.title}', number: '{payload.n}' }
      const message = aMessage({ body })
      await s3.deliver(store.aConfig({ metadata }), message, never, surroundings)
      expect((await store.stored()).metadata).toEqual({
        'delivery-id': message.delivery_id,
        'distribution-id': message.distribution_id,
        'tenant-id': 'acme',
        origin: 'MS09 aggregated_report',
        title: `=?UTF-8?B?${Buffer.from('Größe 中').toString('base64')}?=`,
        number: '9223372036854775807',
      })
    })

    it('tags arrive as tags, whatever characters they have', async () => {
      const tags = { kind: '{data_type}', 'who and what': '{payload.who}' }
      await store.send({ tags, key: 'tagged' }, { body: Buffer.from('{"who":"a=b c:d/é+@"}') })
      const { TagSet } = await store.client.send(new GetObjectTaggingCommand({ Bucket: store.bucket, Key: 'tagged' }))
      expect(TagSet).toHaveLength(2)
      expect(TagSet).toContainEqual({ Key: 'kind', Value: 'aggregated_report' })
      expect(TagSet).toContainEqual({ Key: 'who and what', Value: 'a=b c:d/é+@' })
    })

    it('content type, disposition and caching are those of the configuration, else of the payload', async () => {
      await store.send({ key: 'plain' }, { content_type: 'application/fhir+json' })
      const plain = await store.client.send(new HeadObjectCommand({ Bucket: store.bucket, Key: 'plain' }))
      expect(plain.ContentType).toBe('application/fhir+json')
      expect(plain.ContentDisposition).toBeUndefined()
      const stated = {
        content_type: 'text/plain; charset=utf-8',
        content_disposition: 'attachment; filename="report.txt"',
        cache_control: 'no-store',
      }
      await store.send({ key: 'stated', ...stated })
      expect(await store.client.send(new HeadObjectCommand({ Bucket: store.bucket, Key: 'stated' }))).toMatchObject({
        ContentType: stated.content_type,
        ContentDisposition: stated.content_disposition,
        CacheControl: stated.cache_control,
      })
    })

    // The server takes these and shows none of them, so that they are looked for on the wire.
    it.each([
      ['one piece', 10],
      ['parts', 9 * MIB],
    ])('storage class, encryption, ACL and the expected owner are sent with an object in %s', async (_, size) => {
      store.front.decide(({ method }) => (method === 'PUT' || method === 'POST' ? { status: 400 } : undefined))
      const given = {
        storage_class: 'STANDARD_IA',
        server_side_encryption: 'aws:kms',
        kms_key_id: 'arn:aws:kms:eu-west-1:111122223333:key/1234',
        acl: 'bucket-owner-full-control',
        expected_bucket_owner: '111122223333',
        tags: { a: 'b' },
      }
      await failureOf(store.send(given, { body: Buffer.alloc(size, 'x') }))
      expect(store.front.requests).toHaveLength(1)
      expect(store.front.requests[0]!.headers).toMatchObject({
        'x-amz-storage-class': 'STANDARD_IA',
        'x-amz-server-side-encryption': 'aws:kms',
        'x-amz-server-side-encryption-aws-kms-key-id': given.kms_key_id,
        'x-amz-acl': 'bucket-owner-full-control',
        'x-amz-expected-bucket-owner': '111122223333',
        'x-amz-tagging': 'a=b',
      })
    })

    it('a storage class and encryption that the server knows are accepted by it', async () => {
      await store.send({ storage_class: 'STANDARD_IA', server_side_encryption: 'AES256' })
      expect(store.front.requests[0]!.headers).toMatchObject({
        'x-amz-storage-class': 'STANDARD_IA',
        'x-amz-server-side-encryption': 'AES256',
      })
      await store.stored()
    })

    it.each([
      ['the destination', { compression: 'gzip' }, {}],
      ['the submission', {}, { compression: 'gzip' as const }],
    ])('gzip for %s is stated as the content encoding, and a repeat has the same bytes', async (_, given, how) => {
      const message = aMessage(how)
      const first = await s3.deliver(store.aConfig(given), message, never, surroundings)
      const { body, content_encoding, content_type } = await store.stored()
      expect(content_encoding).toBe('gzip')
      expect(content_type).toBe('application/json')
      expect(gunzipSync(body).equals(message.body)).toBe(true)
      const again = await s3.deliver(store.aConfig(given), { ...message, attempt_number: 2 }, never, surroundings)
      expect(again.metadata).toEqual(first.metadata)
    })

    it('the receipt names bucket, key and ETag', async () => {
      const receipt = await store.send({ key: 'in/{data_type}.json' })
      expect(receipt).toEqual({
        status: 200,
        body: null,
        metadata: {
          bucket: store.bucket,
          key: 'in/aggregated_report.json',
          etag: expect.stringMatching(/^"[0-9a-f]{32}"$/),
        },
      })
    })
  })

  describe('the key', () => {
    it.each(['plain.json', 'a b/c+d/%41/~!*\'()&$@=;:,?#[]"<>|^`{{x}}', 'ünïcödé/中文/𝄞.json', '.hidden/..a/b..'])(
      '%s is the name of the object',
      async (key) => {
        const receipt = await store.send({ key })
        const name = key.replace('{{x}}', '{x}')
        expect(receipt.metadata).toMatchObject({ key: name })
        expect((await store.stored()).key).toBe(name)
      },
    )

    it('takes what the payload says, with all characters but those that lead elsewhere', async () => {
      const body = Buffer.from('{"who":"Zoë & Söhne 100%","n":12345678901234567890}')
      await store.send({ key: 'in/{tenant_id}/{payload.who}/{payload.n}.json' }, { body })
      expect((await store.stored()).key).toBe('in/acme/Zoë & Söhne 100%/12345678901234567890.json')
    })

    it.each([
      ['a slash', 'in/{payload.x}', 'a/b'],
      ['a backslash', 'in/{payload.x}', 'a\\b'],
      ['the folder above', 'in/{payload.x}/y', '..'],
      ['the folder itself', 'in/{payload.x}/y', '.'],
      ['nothing', 'in/{payload.x}/y', ''],
      ['the half of the folder above', 'in/.{payload.x}/y', '.'],
      ['a NUL', 'in/{payload.x}', 'a\0'],
      ['a line break', 'in/{payload.x}', 'a\nb'],
      ['a C1 control character', 'in/{payload.x}', 'a\u0085b'],
      ['too much', 'in/{payload.x}', 'é'.repeat(511)],
    ])('a value that brings %s is MISCONFIGURED, and nothing is sent', async (_, key, x) => {
      const error = await failureOf(store.send({ key }, { body: Buffer.from(JSON.stringify({ x })) }))
      expect(error).toMatchObject({ code: 'MISCONFIGURED', retryable: false })
      expect(error.message).toMatch(/^key: /)
      expect(store.front.requests).toEqual([])
    })

    it('1024 bytes are not too much', async () => {
      // Slashes, for a file system bounds each name at 255 bytes.
      const key = `${'x'.repeat(200)}/`.repeat(5) + 'y'.repeat(19)
      expect(Buffer.byteLength(key)).toBe(1024)
      store.front.decide(() => ({ status: 200, headers: { etag: '"x"' } }))
      expect((await store.send({ key })).metadata).toMatchObject({ key })
    })
  })

  describe('a key that is taken', () => {
    it('is overwritten by default: an object without placeholders in its key is the latest one', async () => {
      await store.send({ key: 'latest.json' }, { body: Buffer.from('1') })
      await store.send({ key: 'latest.json' }, { body: Buffer.from('2') })
      expect((await store.stored()).body.toString()).toBe('2')
    })

    it.each([
      ['one piece', 1],
      ['parts', 9 * MIB],
    ])('is refused where that is wanted, in %s', async (_, size) => {
      const given = { key: 'once.json', if_exists: 'refuse' }
      await store.send(given, { body: Buffer.from('1') })
      const error = await failureOf(store.send(given, { body: Buffer.alloc(size, '2') }))
      expect(error).toMatchObject({ code: 'REJECTED', retryable: false, response: { status: 412 } })
      expect((await store.stored()).body.toString()).toBe('1')
      expect(await store.uploads()).toEqual([])
    })

    it('is no fault when this very delivery took it, and the answer was lost', async () => {
      const message = aMessage()
      const config = store.aConfig({ key: 'once.json', if_exists: 'refuse' })
      store.front.decide(() => 'lose the answer')
      const lost = await failureOf(s3.deliver(config, message, never, surroundings))
      expect(lost).toMatchObject({ code: 'DESTINATION_UNAVAILABLE', retryable: true })
      store.front.decide(() => undefined)
      const receipt = await s3.deliver(config, { ...message, attempt_number: 2 }, never, surroundings)
      expect(receipt.metadata).toMatchObject({ key: 'once.json', etag: expect.any(String) })
      await store.stored()
    })

    it('is refused when a credential that may only write cannot tell whose it is', async () => {
      store.front.decide(({ method }) => ({ status: method === 'HEAD' ? 403 : 412 }))
      const error = await failureOf(store.send({ if_exists: 'refuse' }))
      expect(error).toMatchObject({ code: 'REJECTED', retryable: false })
    })
  })

  describe('a bucket with versions', () => {
    const versions = async () => {
      const { Versions = [] } = await store.client.send(new ListObjectVersionsCommand({ Bucket: store.bucket }))
      return Versions
    }

    beforeEach(async () => {
      await store.makeBucket({ versioning: true })
    })

    it('the receipt has the version, and a repeat is one more version of the same bytes', async () => {
      const message = aMessage()
      const first = await s3.deliver(store.aConfig(), message, never, surroundings)
      const second = await s3.deliver(store.aConfig(), { ...message, attempt_number: 2 }, never, surroundings)
      expect((await versions()).map(({ VersionId }) => VersionId).toSorted()).toEqual(
        [first.metadata?.version_id, second.metadata?.version_id].toSorted(),
      )
      expect(first.metadata?.etag).toBe(second.metadata?.etag)
      const Key = `${message.delivery_id}.json`
      const VersionId = first.metadata?.version_id as string
      const { Body } = await store.client.send(new GetObjectCommand({ Bucket: store.bucket, Key, VersionId }))
      expect(await Body?.transformToString()).toBe(message.body.toString())
      await store.stored()
    })

    it('with "if_exists": "refuse" a repeat makes no version', async () => {
      const message = aMessage()
      const config = store.aConfig({ if_exists: 'refuse' })
      const first = await s3.deliver(config, message, never, surroundings)
      const second = await s3.deliver(config, { ...message, attempt_number: 2 }, never, surroundings)
      expect(second.metadata).toEqual(first.metadata)
      expect(await versions()).toHaveLength(1)
    })
  })
})
