// Requests to S3 on a real server: single and multipart uploads, checksums, host names, credentials and deadlines.
import { randomBytes } from 'node:crypto'
import { HeadObjectCommand } from '@aws-sdk/client-s3'
import { expect, it, vi } from 'vitest'
import { createEgress } from '../../../activities/destinations/network/egress.ts'
import { s3 } from '../../../activities/destinations/s3/index.ts'
import { forgetClock, setClock } from '../../../db/clock.ts'
import { certificate } from '../../support/receivers/http.ts'
import { describeWith } from '../../support/receivers/needs.ts'
import { startVersitygw } from '../../support/receivers/s3.ts'
import type { FrontedRequest } from '../../support/receivers/s3-front.ts'
import { aMessage, failureOf, never, SECRET, surroundings } from './contract.ts'
import { isPart, isPut, MIB, Store } from './sending-s3.ts'

const describe = await describeWith('versitygw')

describe('a request to S3', () => {
  const store = new Store()

  describe('checksums', () => {
    const checksumHeaders = ({ headers }: FrontedRequest) =>
      Object.keys(headers).filter((name) => /checksum|^x-amz-trailer$|^trailer$/.test(name))

    it.each([
      ['one piece', 10],
      ['parts', 9 * MIB],
    ])('a store that refuses them takes an object in %s', async (_, size) => {
      store.front.decide((request) => {
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
      expect(await failureOf(store.send({ checksum: 'crc32' }, { body }))).toMatchObject({ code: 'REJECTED' })
      await store.send({}, { body })
      expect((await store.stored()).body.equals(body)).toBe(true)
    })

    it.each([
      ['crc32', 'ChecksumCRC32'],
      ['crc32c', 'ChecksumCRC32C'],
      ['sha1', 'ChecksumSHA1'],
      ['sha256', 'ChecksumSHA256'],
    ] as const)('%s is checked and kept by a store that knows it', async (checksum, field) => {
      await store.send({ checksum, key: 'small' })
      await store.send({ checksum, key: 'large' }, { body: randomBytes(9 * MIB) })
      for (const Key of ['small', 'large']) {
        const head = await store.client.send(
          new HeadObjectCommand({ Bucket: store.bucket, Key, ChecksumMode: 'ENABLED' }),
        )
        expect(head[field]).toMatch(/^[A-Za-z0-9+/=-]+$/)
      }
      expect(store.front.requests.filter(isPut)).toHaveLength(1)
      for (const request of store.front.requests.filter((each) => isPut(each) || isPart(each))) {
        expect(checksumHeaders(request)).toContain(`x-amz-checksum-${checksum}`)
      }
    })
  })

  describe('parts', () => {
    it('20 MiB go in parts of 8 MiB, one after the other, and arrive whole', async () => {
      const body = randomBytes(20 * MIB)
      const receipt = await store.send({ key: 'large' }, { body })
      expect(store.front.requests.filter(isPart).map(({ size }) => size)).toEqual([8 * MIB, 8 * MIB, 4 * MIB])
      expect(store.front.requests).toHaveLength(5)
      const object = await store.stored()
      expect(object.body.equals(body)).toBe(true)
      expect(object.metadata['tenant-id']).toBe('acme')
      expect(object.content_type).toBe('application/json')
      expect(receipt.metadata?.etag).toMatch(/-3"$/)
      expect(await store.uploads()).toEqual([])
    })

    it('8 MiB go in one piece, with their exact length', async () => {
      const body = randomBytes(8 * MIB)
      await store.send({}, { body })
      expect(store.front.requests).toHaveLength(1)
      expect(store.front.requests[0]!.headers['content-length']).toBe(String(8 * MIB))
      expect(store.front.requests[0]!.headers['transfer-encoding']).toBeUndefined()
      expect((await store.stored()).body.equals(body)).toBe(true)
    })

    it('an interrupted upload leaves no parts, and the repeat delivers', async () => {
      const message = aMessage({ body: randomBytes(20 * MIB) })
      store.front.decide(({ path }) => (path.includes('partNumber=2') ? 'cut' : undefined))
      const error = await failureOf(s3.deliver(store.aConfig(), message, never, surroundings))
      expect(error).toMatchObject({ code: 'DESTINATION_UNAVAILABLE', retryable: true })
      expect(store.front.requests.filter(isPart)).toHaveLength(2)
      expect(await store.uploads()).toEqual([])
      store.front.decide(() => undefined)
      await s3.deliver(store.aConfig(), { ...message, attempt_number: 2 }, never, surroundings)
      expect((await store.stored()).body.equals(message.body)).toBe(true)
    })

    it('a refused part is reported with the reason of the store, and leaves no parts', async () => {
      store.front.decide(({ path }) =>
        path.includes('partNumber=2')
          ? { status: 503, headers: { 'retry-after': '9' }, body: '<Error><Code>SlowDown</Code></Error>' }
          : undefined,
      )
      const error = await failureOf(store.send({}, { body: randomBytes(20 * MIB) }))
      expect(error).toMatchObject({ code: 'THROTTLED', retryAfterMs: 9_000, response: { status: 503 } })
      expect(store.front.requests.filter(isPart)).toHaveLength(2)
      expect(await store.uploads()).toEqual([])
    })

    it('an error inside a completion that began as a 200 is a failure', async () => {
      store.front.decide(({ method, path }) =>
        method === 'POST' && path.includes('uploadId=')
          ? { status: 200, body: '<?xml version="1.0"?><Error><Code>InternalError</Code></Error>' }
          : undefined,
      )
      const error = await failureOf(store.send({}, { body: randomBytes(9 * MIB) }))
      expect(error).toMatchObject({ code: 'DESTINATION_UNAVAILABLE', retryable: true })
      expect(await store.uploads()).toEqual([])
      expect(await store.server.objects(store.bucket)).toEqual([])
    })

    it.each([
      ['a part that no longer goes on', 'deadline'],
      ['an order to cancel', 'abort'],
    ])('%s gives back what has been sent', async (_, kind) => {
      store.front.decide(({ path }) => (path.includes('partNumber=2') ? 'stall' : undefined))
      const controller = new AbortController()
      const reason = new Error('cancelled')
      const timeout_seconds = kind === 'deadline' ? 2 : 15
      const outcome = store
        .send({ timeout_seconds }, { body: randomBytes(20 * MIB) }, controller.signal)
        .catch((error: unknown) => error)
      await store.front.seen(({ path }) => path.includes('partNumber=2'))
      if (kind === 'abort') controller.abort(reason)
      if (kind === 'abort') expect(await outcome).toBe(reason)
      else expect(await outcome).toMatchObject({ code: 'TIMEOUT', retryable: true })
      await expect.poll(store.uploads).toEqual([])
    })
  })

  describe('the endpoint and the form of the request', () => {
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
      const config = store.aConfig({ endpoint: `http://s3.test:${store.front.port}`, key: 'a.json' })
      await s3.deliver(config, aMessage(), never, named(lookups))
      expect(lookups).toEqual(['s3.test'])
      expect(store.front.requests[0]).toMatchObject({ headers: { host: `s3.test:${store.front.port}` } })
      expect(store.front.requests[0]!.path).toMatch(new RegExp(`^/${store.bucket}/a\\.json(\\?|$)`))
      await store.stored()
    })

    it('with the bucket in the host name, where that is asked for', async () => {
      const lookups: string[] = []
      const config = store.aConfig({ endpoint: `http://s3.test:${store.front.port}`, path_style: false, key: 'a.json' })
      await s3.deliver(config, aMessage(), never, named(lookups))
      expect(lookups).toEqual([`${store.bucket}.s3.test`])
      expect(store.front.requests[0]).toMatchObject({
        headers: { host: `${store.bucket}.s3.test:${store.front.port}` },
      })
      expect(store.front.requests[0]!.path).toMatch(/^\/a\.json(\?|$)/)
      await store.stored()
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
      const config = store.aConfig({ endpoint: undefined, region })
      expect(config).toMatchObject({ endpoint: `https://${host}`, path_style: false })
      for (const attempt of [s3.deliver(config, aMessage(), never, { egress }), s3.probe(config, never, { egress })]) {
        expect(await failureOf(attempt)).toMatchObject({ code: 'EGRESS_DENIED', retryable: false })
      }
      expect(lookups).toEqual([`${store.bucket}.${host}`, `${store.bucket}.${host}`])
    })

    it('a wrong region is MISCONFIGURED, named with the right one, and asked for no more', async () => {
      const error = await failureOf(store.send({ region: 'eu-west-1' }))
      expect(error).toMatchObject({
        code: 'MISCONFIGURED',
        retryable: false,
        message: expect.stringContaining('the bucket is in the region "us-east-1"'),
      })
      expect(store.front.requests).toHaveLength(1)
      expect(await failureOf(s3.probe(store.aConfig({ region: 'eu-west-1' }), never, surroundings))).toMatchObject({
        code: 'MISCONFIGURED',
      })
    })

    it('over TLS, with an authority of its own', async () => {
      const files = new URL('../../support/receivers/certificates/', import.meta.url).pathname
      const tls = { cert: `${files}server.pem`, key: `${files}server.key` }
      const secure = await startVersitygw({ access_key: 'owner', secret_key: SECRET, tls })
      try {
        const given = { endpoint: secure.endpoint, bucket: 'not-there', tls: { ca: certificate('ca.pem') } }
        // An answer of the server behind the certificate, which has no buckets.
        const missing = await failureOf(store.send(given))
        expect(missing).toMatchObject({ code: 'MISCONFIGURED', response: { status: 404 } })
        const untrusted = await failureOf(store.send({ ...given, tls: {} }))
        expect(untrusted).toMatchObject({ code: 'DESTINATION_UNAVAILABLE', response: undefined })
        expect(untrusted.message).toContain('no secure connection')
      } finally {
        await secure.close()
      }
    })

    it('each connection is closed with its request', async () => {
      await store.send()
      expect(store.front.requests[0]!.headers.connection).toBe('close')
    })
  })

  describe('credentials', () => {
    it('an unknown key is UNAUTHORIZED and final', async () => {
      const error = await failureOf(store.send({ access_key_id: 'nobody' }))
      expect(error).toMatchObject({ code: 'UNAUTHORIZED', retryable: false })
    })

    it('a large body that is refused at its head is not sent, and the refusal is heard', async () => {
      const body = '<Error><Code>InvalidAccessKeyId</Code><Message>m</Message></Error>'
      store.front.decide(() => ({ status: 403, body, at_the_head: true }))
      const error = await failureOf(store.send({}, { body: randomBytes(8 * MIB) }))
      expect(error).toMatchObject({ code: 'UNAUTHORIZED', response: { body: 'InvalidAccessKeyId: m' } })
      expect(store.front.requests.map(({ size }) => size)).toEqual([0])
    })

    it('a session token goes with the request, and never comes back', async () => {
      const session_token = 'session-token-4711'
      const quoting = `<Error><Code>SignatureDoesNotMatch</Code><Message>m ${session_token}</Message>
        <CanonicalRequest>x-amz-security-token:${session_token}</CanonicalRequest></Error>`
      store.front.decide(() => ({ status: 403, body: quoting }))
      const error = await failureOf(store.send({ session_token }))
      expect(store.front.requests[0]!.headers['x-amz-security-token']).toBe(session_token)
      expect(error.response).toEqual({ status: 403, body: 'SignatureDoesNotMatch: m ***' })
    })

    it('a clock that is wrong is no fault of the document: it is tried again', async () => {
      vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 3_600_000 })
      try {
        const error = await failureOf(store.send())
        expect(error).toMatchObject({ code: 'DESTINATION_UNAVAILABLE', retryable: true })
        expect(error.message).toContain('RequestTimeTooSkewed')
      } finally {
        vi.useRealTimers()
      }
      await store.send()
    })
  })

  it('is signed by the database’s clock, whatever this machine’s says', async () => {
    const [real, moment] = [Date.now(), performance.now()]
    vi.useFakeTimers({ toFake: ['Date'], now: real + 3 * 3_600_000 })
    try {
      setClock(real, moment)
      await store.send()
      await store.send({}, { body: randomBytes(9 * MIB) })
    } finally {
      vi.useRealTimers()
      forgetClock()
    }
  })

  describe('the deadline', () => {
    it('an upload that is stuck ends with it, and the socket is closed', async () => {
      store.front.decide(() => 'stall')
      const began = performance.now()
      const error = await failureOf(store.send({ timeout_seconds: 0.5 }, { body: randomBytes(8 * MIB) }))
      expect(error).toMatchObject({ code: 'TIMEOUT', retryable: true })
      expect(performance.now() - began).toBeLessThan(3_000)
      expect(store.front.requests).toHaveLength(1)
    })

    it.each([500, 502, 503])('a %s is asked once, and left to the next attempt', async (status) => {
      store.front.decide(() => ({ status }))
      const error = await failureOf(store.send())
      expect(error).toMatchObject({ code: 'DESTINATION_UNAVAILABLE', retryable: true, response: { status } })
      expect(store.front.requests.filter(isPut)).toHaveLength(1)
      expect(store.front.requests).toHaveLength(1)
    })
  })

  describe('a probe', () => {
    it('of a credential that may only write is well', async () => {
      store.front.decide(() => ({ status: 403, body: '<Error><Code>AccessDenied</Code></Error>' }))
      await s3.probe(store.aConfig(), never, surroundings)
      expect(store.front.requests).toHaveLength(1)
      expect(store.front.requests[0]).toMatchObject({ method: 'GET' })
    })

    it('of a bucket that is not there is MISCONFIGURED', async () => {
      const error = await failureOf(s3.probe(store.aConfig({ bucket: 'not-there' }), never, surroundings))
      expect(error).toMatchObject({ code: 'MISCONFIGURED', message: 'the destination answered 404 (NoSuchBucket)' })
    })
  })
})
