// What S3 adds to the contract, on a real server: what is kept beside the bytes, parts, versions, checksums, and the
// ways in which a store is addressed.
import { randomBytes, randomUUID } from 'node:crypto'
import { gunzipSync } from 'node:zlib'
import {
  GetObjectCommand,
  GetObjectTaggingCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectVersionsCommand,
  type S3Client,
} from '@aws-sdk/client-s3'
import { afterAll, afterEach, beforeAll, beforeEach, expect, it, vi } from 'vitest'
import type { Message } from '../../activities/destinations/destination.ts'
import { createEgress } from '../../activities/destinations/egress.ts'
import { type S3Config, s3Config } from '../../activities/destinations/s3/config.ts'
import { s3 } from '../../activities/destinations/s3.ts'
import { startVersitygw, type Versitygw } from '../../temporal-config/receivers/s3.ts'
import { certificate } from '../support/receivers/http.ts'
import { describeWith, INSTALL_MS } from '../support/receivers/needs.ts'
import { type FrontedRequest, type S3Front, startS3Front } from '../support/receivers/s3-front.ts'
import { aMessage, failureOf, never, SECRET, surroundings } from './contract.ts'

const describe = await describeWith('versitygw')
const MIB = 1024 * 1024

describe('S3', () => {
  let server: Versitygw
  let front: S3Front
  let client: S3Client
  let bucket: string

  beforeAll(async () => {
    server = await startVersitygw({ access_key: 'owner', secret_key: SECRET, virtual_domain: 's3.test' })
    client = await server.client()
  }, INSTALL_MS)
  afterAll(async () => {
    client?.destroy()
    await server?.close()
  })
  beforeEach(async () => {
    bucket = `b-${randomUUID()}`
    await server.makeBucket(bucket)
    front = await startS3Front(server)
  })
  afterEach(() => front.close())

  /** Leads through the front to this test's bucket. */
  function aConfig(given: Record<string, unknown> = {}): S3Config {
    const { timeout_seconds = 15, ...rest } = given
    const parsed = s3Config.parse({
      endpoint: front.url,
      bucket,
      key: '{delivery_id}.json',
      access_key_id: 'owner',
      secret_access_key: SECRET,
      ...rest,
    }) as S3Config
    return { ...parsed, timeout_seconds: timeout_seconds as number }
  }

  function send(given: Record<string, unknown> = {}, message: Partial<Message> = {}, signal = never) {
    return s3.deliver(aConfig(given), aMessage(message), signal, surroundings)
  }

  /** The one object of this test. */
  async function stored() {
    const objects = await server.objects(bucket)
    expect(objects).toHaveLength(1)
    return objects[0]!
  }

  const uploads = async () => {
    const { Uploads = [] } = await client.send(new ListMultipartUploadsCommand({ Bucket: bucket }))
    return Uploads
  }

  const isPart = ({ method, path }: FrontedRequest) => method === 'PUT' && path.includes('partNumber=')
  const isPut = ({ method, path }: FrontedRequest) => method === 'PUT' && !path.includes('partNumber=')

  describe('what is kept beside the bytes', () => {
    it('the ids of delivery, distribution and tenant are in the metadata, with what the configuration adds', async () => {
      const body = Buffer.from('{"report":{"title":"Größe 中"},"n":9223372036854775807}')
      const metadata = { Origin: 'MS09 {data_type}', title: '{payload.report.title}', number: '{payload.n}' }
      const message = aMessage({ body })
      await s3.deliver(aConfig({ metadata }), message, never, surroundings)
      expect((await stored()).metadata).toEqual({
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
      await send({ tags, key: 'tagged' }, { body: Buffer.from('{"who":"a=b c:d/é+@"}') })
      const { TagSet } = await client.send(new GetObjectTaggingCommand({ Bucket: bucket, Key: 'tagged' }))
      expect(TagSet).toHaveLength(2)
      expect(TagSet).toContainEqual({ Key: 'kind', Value: 'aggregated_report' })
      expect(TagSet).toContainEqual({ Key: 'who and what', Value: 'a=b c:d/é+@' })
    })

    it('content type, disposition and caching are those of the configuration, else of the payload', async () => {
      await send({ key: 'plain' }, { content_type: 'application/fhir+json' })
      const plain = await client.send(new HeadObjectCommand({ Bucket: bucket, Key: 'plain' }))
      expect(plain.ContentType).toBe('application/fhir+json')
      expect(plain.ContentDisposition).toBeUndefined()
      const stated = {
        content_type: 'text/plain; charset=utf-8',
        content_disposition: 'attachment; filename="report.txt"',
        cache_control: 'no-store',
      }
      await send({ key: 'stated', ...stated })
      expect(await client.send(new HeadObjectCommand({ Bucket: bucket, Key: 'stated' }))).toMatchObject({
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
      front.decide(({ method }) => (method === 'PUT' || method === 'POST' ? { status: 400 } : undefined))
      const given = {
        storage_class: 'STANDARD_IA',
        server_side_encryption: 'aws:kms',
        kms_key_id: 'arn:aws:kms:eu-west-1:111122223333:key/1234',
        acl: 'bucket-owner-full-control',
        expected_bucket_owner: '111122223333',
        tags: { a: 'b' },
      }
      await failureOf(send(given, { body: Buffer.alloc(size, 'x') }))
      expect(front.requests).toHaveLength(1)
      expect(front.requests[0]!.headers).toMatchObject({
        'x-amz-storage-class': 'STANDARD_IA',
        'x-amz-server-side-encryption': 'aws:kms',
        'x-amz-server-side-encryption-aws-kms-key-id': given.kms_key_id,
        'x-amz-acl': 'bucket-owner-full-control',
        'x-amz-expected-bucket-owner': '111122223333',
        'x-amz-tagging': 'a=b',
      })
    })

    it('a storage class and encryption that the server knows are accepted by it', async () => {
      await send({ storage_class: 'STANDARD_IA', server_side_encryption: 'AES256' })
      expect(front.requests[0]!.headers).toMatchObject({
        'x-amz-storage-class': 'STANDARD_IA',
        'x-amz-server-side-encryption': 'AES256',
      })
      await stored()
    })

    it.each([
      ['the destination', { compression: 'gzip' }, {}],
      ['the submission', {}, { compression: 'gzip' as const }],
    ])('gzip for %s is stated as the content encoding, and a repeat has the same bytes', async (_, given, how) => {
      const message = aMessage(how)
      const first = await s3.deliver(aConfig(given), message, never, surroundings)
      const { body, content_encoding, content_type } = await stored()
      expect(content_encoding).toBe('gzip')
      expect(content_type).toBe('application/json')
      expect(gunzipSync(body).equals(message.body)).toBe(true)
      const again = await s3.deliver(aConfig(given), { ...message, attempt_number: 2 }, never, surroundings)
      expect(again.metadata).toEqual(first.metadata)
    })

    it('the receipt names bucket, key and ETag', async () => {
      const receipt = await send({ key: 'in/{data_type}.json' })
      expect(receipt).toEqual({
        status: 200,
        body: null,
        metadata: { bucket, key: 'in/aggregated_report.json', etag: expect.stringMatching(/^"[0-9a-f]{32}"$/) },
      })
    })
  })

  describe('the key', () => {
    it.each(['plain.json', 'a b/c+d/%41/~!*\'()&$@=;:,?#[]"<>|^`{{x}}', 'ünïcödé/中文/𝄞.json', '.hidden/..a/b..'])(
      '%s is the name of the object',
      async (key) => {
        const receipt = await send({ key })
        const name = key.replace('{{x}}', '{x}')
        expect(receipt.metadata).toMatchObject({ key: name })
        expect((await stored()).key).toBe(name)
      },
    )

    it('takes what the payload says, with all characters but those that lead elsewhere', async () => {
      const body = Buffer.from('{"who":"Zoë & Söhne 100%","n":12345678901234567890}')
      await send({ key: 'in/{tenant_id}/{payload.who}/{payload.n}.json' }, { body })
      expect((await stored()).key).toBe('in/acme/Zoë & Söhne 100%/12345678901234567890.json')
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
      const error = await failureOf(send({ key }, { body: Buffer.from(JSON.stringify({ x })) }))
      expect(error).toMatchObject({ code: 'MISCONFIGURED', retryable: false })
      expect(error.message).toMatch(/^key: /)
      expect(front.requests).toEqual([])
    })

    it('1024 bytes are not too much', async () => {
      // Slashes, for a file system bounds each name at 255 bytes.
      const key = `${'x'.repeat(200)}/`.repeat(5) + 'y'.repeat(19)
      expect(Buffer.byteLength(key)).toBe(1024)
      front.decide(() => ({ status: 200, headers: { etag: '"x"' } }))
      expect((await send({ key })).metadata).toMatchObject({ key })
    })
  })

  describe('FIELD-REPORT 56: checksums', () => {
    const checksumHeaders = ({ headers }: FrontedRequest) =>
      Object.keys(headers).filter((name) => /checksum|^x-amz-trailer$|^trailer$/.test(name))

    it.each([
      ['one piece', 10],
      ['parts', 9 * MIB],
    ])('a store that refuses them takes an object in %s', async (_, size) => {
      front.decide((request) => {
        const chunked = /aws-chunked|STREAMING/.test(
          `${request.headers['content-encoding']} ${request.headers['x-amz-content-sha256']}`,
        )
        if (checksumHeaders(request).length === 0 && !chunked) return undefined
        return {
          status: 400,
          body: '<Error><Code>NotImplemented</Code><Message>A header is not known</Message></Error>',
        }
      })
      const body = randomBytes(size)
      expect(await failureOf(send({ checksum: 'crc32' }, { body }))).toMatchObject({ code: 'REJECTED' })
      await send({}, { body })
      expect((await stored()).body.equals(body)).toBe(true)
    })

    it.each([
      ['crc32', 'ChecksumCRC32'],
      ['crc32c', 'ChecksumCRC32C'],
      ['sha1', 'ChecksumSHA1'],
      ['sha256', 'ChecksumSHA256'],
    ] as const)('%s is checked and kept by a store that knows it', async (checksum, field) => {
      await send({ checksum, key: 'small' })
      await send({ checksum, key: 'large' }, { body: randomBytes(9 * MIB) })
      for (const Key of ['small', 'large']) {
        const head = await client.send(new HeadObjectCommand({ Bucket: bucket, Key, ChecksumMode: 'ENABLED' }))
        expect(head[field]).toMatch(/^[A-Za-z0-9+/=-]+$/)
      }
      expect(front.requests.filter(isPut)).toHaveLength(1)
      for (const request of front.requests.filter((each) => isPut(each) || isPart(each))) {
        expect(checksumHeaders(request)).toContain(`x-amz-checksum-${checksum}`)
      }
    })
  })

  describe('parts', () => {
    it('20 MiB go in parts of 8 MiB, one after the other, and arrive whole', async () => {
      const body = randomBytes(20 * MIB)
      const receipt = await send({ key: 'large' }, { body })
      expect(front.requests.filter(isPart).map(({ size }) => size)).toEqual([8 * MIB, 8 * MIB, 4 * MIB])
      expect(front.requests).toHaveLength(5)
      const object = await stored()
      expect(object.body.equals(body)).toBe(true)
      expect(object.metadata['tenant-id']).toBe('acme')
      expect(object.content_type).toBe('application/json')
      expect(receipt.metadata?.etag).toMatch(/-3"$/)
      expect(await uploads()).toEqual([])
    })

    it('8 MiB go in one piece, with their exact length', async () => {
      const body = randomBytes(8 * MIB)
      await send({}, { body })
      expect(front.requests).toHaveLength(1)
      expect(front.requests[0]!.headers['content-length']).toBe(String(8 * MIB))
      expect(front.requests[0]!.headers['transfer-encoding']).toBeUndefined()
      expect((await stored()).body.equals(body)).toBe(true)
    })

    it('an upload that is cut in the middle leaves no parts, and the repeat delivers', async () => {
      const message = aMessage({ body: randomBytes(20 * MIB) })
      front.decide(({ path }) => (path.includes('partNumber=2') ? 'cut' : undefined))
      const error = await failureOf(s3.deliver(aConfig(), message, never, surroundings))
      expect(error).toMatchObject({ code: 'DESTINATION_UNAVAILABLE', retryable: true })
      expect(front.requests.filter(isPart)).toHaveLength(2)
      expect(await uploads()).toEqual([])
      front.decide(() => undefined)
      await s3.deliver(aConfig(), { ...message, attempt_number: 2 }, never, surroundings)
      expect((await stored()).body.equals(message.body)).toBe(true)
    })

    it('a refused part is told as what it was, and leaves no parts', async () => {
      front.decide(({ path }) =>
        path.includes('partNumber=2')
          ? { status: 503, headers: { 'retry-after': '9' }, body: '<Error><Code>SlowDown</Code></Error>' }
          : undefined,
      )
      const error = await failureOf(send({}, { body: randomBytes(20 * MIB) }))
      expect(error).toMatchObject({ code: 'THROTTLED', retryAfterMs: 9_000, response: { status: 503 } })
      expect(front.requests.filter(isPart)).toHaveLength(2)
      expect(await uploads()).toEqual([])
    })

    it('an error inside a completion that began as a 200 is a failure', async () => {
      front.decide(({ method, path }) =>
        method === 'POST' && path.includes('uploadId=')
          ? { status: 200, body: '<?xml version="1.0"?><Error><Code>InternalError</Code></Error>' }
          : undefined,
      )
      const error = await failureOf(send({}, { body: randomBytes(9 * MIB) }))
      expect(error).toMatchObject({ code: 'DESTINATION_UNAVAILABLE', retryable: true })
      expect(await uploads()).toEqual([])
      expect(await server.objects(bucket)).toEqual([])
    })

    it.each([
      ['a part that no longer goes on', 'deadline'],
      ['an order to cancel', 'abort'],
    ])('%s gives back what has been sent', async (_, kind) => {
      front.decide(({ path }) => (path.includes('partNumber=2') ? 'stall' : undefined))
      const controller = new AbortController()
      const reason = new Error('cancelled')
      const timeout_seconds = kind === 'deadline' ? 2 : 15
      const outcome = send({ timeout_seconds }, { body: randomBytes(20 * MIB) }, controller.signal).catch(
        (error: unknown) => error,
      )
      await front.seen(({ path }) => path.includes('partNumber=2'))
      if (kind === 'abort') controller.abort(reason)
      if (kind === 'abort') expect(await outcome).toBe(reason)
      else expect(await outcome).toMatchObject({ code: 'TIMEOUT', retryable: true })
      await expect.poll(uploads).toEqual([])
    })
  })

  describe('a key that is taken', () => {
    it('is overwritten by default: an object without placeholders in its key is the latest one', async () => {
      await send({ key: 'latest.json' }, { body: Buffer.from('1') })
      await send({ key: 'latest.json' }, { body: Buffer.from('2') })
      expect((await stored()).body.toString()).toBe('2')
    })

    it.each([
      ['one piece', 1],
      ['parts', 9 * MIB],
    ])('is refused where that is wanted, in %s', async (_, size) => {
      const given = { key: 'once.json', if_exists: 'refuse' }
      await send(given, { body: Buffer.from('1') })
      const error = await failureOf(send(given, { body: Buffer.alloc(size, '2') }))
      expect(error).toMatchObject({ code: 'REJECTED', retryable: false, response: { status: 412 } })
      expect((await stored()).body.toString()).toBe('1')
      expect(await uploads()).toEqual([])
    })

    it('is no fault when this very delivery took it, and the answer was lost', async () => {
      const message = aMessage()
      const config = aConfig({ key: 'once.json', if_exists: 'refuse' })
      front.decide(() => 'lose the answer')
      const lost = await failureOf(s3.deliver(config, message, never, surroundings))
      expect(lost).toMatchObject({ code: 'DESTINATION_UNAVAILABLE', retryable: true })
      front.decide(() => undefined)
      const receipt = await s3.deliver(config, { ...message, attempt_number: 2 }, never, surroundings)
      expect(receipt.metadata).toMatchObject({ key: 'once.json', etag: expect.any(String) })
      await stored()
    })

    it('is refused when a credential that may only write cannot tell whose it is', async () => {
      front.decide(({ method }) => ({ status: method === 'HEAD' ? 403 : 412 }))
      const error = await failureOf(send({ if_exists: 'refuse' }))
      expect(error).toMatchObject({ code: 'REJECTED', retryable: false })
    })
  })

  describe('a bucket with versions', () => {
    const versions = async () => {
      const { Versions = [] } = await client.send(new ListObjectVersionsCommand({ Bucket: bucket }))
      return Versions
    }

    beforeEach(async () => {
      bucket = `v-${randomUUID()}`
      await server.makeBucket(bucket, { versioning: true })
    })

    it('the receipt has the version, and a repeat is one more version of the same bytes', async () => {
      const message = aMessage()
      const first = await s3.deliver(aConfig(), message, never, surroundings)
      const second = await s3.deliver(aConfig(), { ...message, attempt_number: 2 }, never, surroundings)
      expect((await versions()).map(({ VersionId }) => VersionId).toSorted()).toEqual(
        [first.metadata?.version_id, second.metadata?.version_id].toSorted(),
      )
      expect(first.metadata?.etag).toBe(second.metadata?.etag)
      const Key = `${message.delivery_id}.json`
      const VersionId = first.metadata?.version_id as string
      const { Body } = await client.send(new GetObjectCommand({ Bucket: bucket, Key, VersionId }))
      expect(await Body?.transformToString()).toBe(message.body.toString())
      await stored()
    })

    it('with "if_exists": "refuse" a repeat makes no version', async () => {
      const message = aMessage()
      const config = aConfig({ if_exists: 'refuse' })
      const first = await s3.deliver(config, message, never, surroundings)
      const second = await s3.deliver(config, { ...message, attempt_number: 2 }, never, surroundings)
      expect(second.metadata).toEqual(first.metadata)
      expect(await versions()).toHaveLength(1)
    })
  })

  describe('who is asked, and how', () => {
    const named = (lookups: string[]) => ({
      egress: createEgress({
        allow: ['127.0.0.0/8'],
        lookup: async (host) => {
          lookups.push(host)
          return [{ address: '127.0.0.1', family: 4 }]
        },
      }),
    })

    it('with the bucket in the path, by default of an endpoint', async () => {
      const lookups: string[] = []
      const config = aConfig({ endpoint: `http://s3.test:${front.port}`, key: 'a.json' })
      await s3.deliver(config, aMessage(), never, named(lookups))
      expect(lookups).toEqual(['s3.test'])
      expect(front.requests[0]).toMatchObject({ headers: { host: `s3.test:${front.port}` } })
      expect(front.requests[0]!.path).toMatch(new RegExp(`^/${bucket}/a\\.json(\\?|$)`))
      await stored()
    })

    it('with the bucket in the host name, where that is asked for', async () => {
      const lookups: string[] = []
      const config = aConfig({ endpoint: `http://s3.test:${front.port}`, path_style: false, key: 'a.json' })
      await s3.deliver(config, aMessage(), never, named(lookups))
      expect(lookups).toEqual([`${bucket}.s3.test`])
      expect(front.requests[0]).toMatchObject({ headers: { host: `${bucket}.s3.test:${front.port}` } })
      expect(front.requests[0]!.path).toMatch(/^\/a\.json(\?|$)/)
      await stored()
    })

    it.each([
      ['eu-west-1', 's3.eu-west-1.amazonaws.com'],
      ['us-gov-west-1', 's3.us-gov-west-1.amazonaws.com'],
      ['cn-north-1', 's3.cn-north-1.amazonaws.com.cn'],
    ])('without an endpoint AWS is asked, in %s', async (region, host) => {
      const lookups: string[] = []
      const egress = createEgress({
        allow: [],
        lookup: async (name) => {
          lookups.push(name)
          return [{ address: '169.254.169.254', family: 4 }]
        },
      })
      const config = aConfig({ endpoint: undefined, region })
      expect(config).toMatchObject({ endpoint: `https://${host}`, path_style: false })
      for (const attempt of [s3.deliver(config, aMessage(), never, { egress }), s3.probe(config, never, { egress })]) {
        expect(await failureOf(attempt)).toMatchObject({ code: 'EGRESS_DENIED', retryable: false })
      }
      expect(lookups).toEqual([`${bucket}.${host}`, `${bucket}.${host}`])
    })

    it('a wrong region is MISCONFIGURED, named with the right one, and asked for no more', async () => {
      const error = await failureOf(send({ region: 'eu-west-1' }))
      expect(error).toMatchObject({
        code: 'MISCONFIGURED',
        retryable: false,
        message: expect.stringContaining('the bucket is in the region "us-east-1"'),
      })
      expect(front.requests).toHaveLength(1)
      expect(await failureOf(s3.probe(aConfig({ region: 'eu-west-1' }), never, surroundings))).toMatchObject({
        code: 'MISCONFIGURED',
      })
    })

    it('over TLS, with an authority of its own', async () => {
      const files = new URL('../support/receivers/certificates/', import.meta.url).pathname
      const tls = { cert: `${files}server.pem`, key: `${files}server.key` }
      const secure = await startVersitygw({ access_key: 'owner', secret_key: SECRET, tls })
      try {
        const given = { endpoint: secure.endpoint, bucket: 'not-there', tls: { ca: certificate('ca.pem') } }
        // An answer of the server behind the certificate, which has no buckets.
        const missing = await failureOf(send(given))
        expect(missing).toMatchObject({ code: 'MISCONFIGURED', response: { status: 404 } })
        const untrusted = await failureOf(send({ ...given, tls: {} }))
        expect(untrusted).toMatchObject({ code: 'DESTINATION_UNAVAILABLE', response: undefined })
        expect(untrusted.message).toContain('no secure connection')
      } finally {
        await secure.close()
      }
    })

    it('each connection is closed with its request', async () => {
      await send()
      expect(front.requests[0]!.headers.connection).toBe('close')
    })
  })

  describe('credentials', () => {
    it('an unknown key is UNAUTHORIZED and final', async () => {
      const error = await failureOf(send({ access_key_id: 'nobody' }))
      expect(error).toMatchObject({ code: 'UNAUTHORIZED', retryable: false })
    })

    it('a large body that is refused at its head is not sent, and the refusal is heard', async () => {
      const body = '<Error><Code>InvalidAccessKeyId</Code><Message>m</Message></Error>'
      front.decide(() => ({ status: 403, body, at_the_head: true }))
      const error = await failureOf(send({}, { body: randomBytes(8 * MIB) }))
      expect(error).toMatchObject({ code: 'UNAUTHORIZED', response: { body: 'InvalidAccessKeyId: m' } })
      expect(front.requests.map(({ size }) => size)).toEqual([0])
    })

    it('a session token goes with the request, and never comes back', async () => {
      const session_token = 'session-token-4711'
      const quoting = `<Error><Code>SignatureDoesNotMatch</Code><Message>m ${session_token}</Message>
        <CanonicalRequest>x-amz-security-token:${session_token}</CanonicalRequest></Error>`
      front.decide(() => ({ status: 403, body: quoting }))
      const error = await failureOf(send({ session_token }))
      expect(front.requests[0]!.headers['x-amz-security-token']).toBe(session_token)
      expect(error.response).toEqual({ status: 403, body: 'SignatureDoesNotMatch: m ***' })
    })

    it('a clock that is wrong is no fault of the document: it is tried again', async () => {
      vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 3_600_000 })
      try {
        const error = await failureOf(send())
        expect(error).toMatchObject({ code: 'DESTINATION_UNAVAILABLE', retryable: true })
        expect(error.message).toContain('RequestTimeTooSkewed')
      } finally {
        vi.useRealTimers()
      }
      await send()
    })
  })

  describe('the deadline', () => {
    it('FIELD-REPORT 55: an upload that is stuck ends with it, and the socket is closed', async () => {
      front.decide(() => 'stall')
      const began = performance.now()
      const error = await failureOf(send({ timeout_seconds: 0.5 }, { body: randomBytes(8 * MIB) }))
      expect(error).toMatchObject({ code: 'TIMEOUT', retryable: true })
      expect(performance.now() - began).toBeLessThan(3_000)
      expect(front.requests).toHaveLength(1)
    })

    it.each([500, 502, 503])('FIELD-REPORT 55: a %s is asked once, and left to the next attempt', async (status) => {
      front.decide(() => ({ status }))
      const error = await failureOf(send())
      expect(error).toMatchObject({ code: 'DESTINATION_UNAVAILABLE', retryable: true, response: { status } })
      expect(front.requests.filter(isPut)).toHaveLength(1)
      expect(front.requests).toHaveLength(1)
    })
  })

  describe('a probe', () => {
    it('of a credential that may only write is well', async () => {
      front.decide(() => ({ status: 403, body: '<Error><Code>AccessDenied</Code></Error>' }))
      await s3.probe(aConfig(), never, surroundings)
      expect(front.requests).toHaveLength(1)
      expect(front.requests[0]).toMatchObject({ method: 'GET' })
    })

    it('of a bucket that is not there is MISCONFIGURED', async () => {
      const error = await failureOf(s3.probe(aConfig({ bucket: 'not-there' }), never, surroundings))
      expect(error).toMatchObject({ code: 'MISCONFIGURED', message: 'the destination answered 404 (NoSuchBucket)' })
    })
  })
})
