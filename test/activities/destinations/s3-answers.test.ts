// What S3 makes of answers that no well-behaved server gives on demand, and which configurations it takes.
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type S3Config, s3Config } from '../../../activities/destinations/s3/config.ts'
import { s3 } from '../../../activities/destinations/s3/index.ts'
import { resolveSecrets } from '../../../activities/destinations/secrets/resolution.ts'
import { reachedHosts, toJsonSchema } from '../../../activities/destinations/secrets/secret.ts'
import { certificate, type HttpReceiver, type Reply, startHttpReceiver } from '../../support/receivers/http.ts'
import { aMessage, failureOf, never, SECRET, surroundings } from './contract.ts'

const stated = { bucket: 'documents', key: '{delivery_id}', access_key_id: 'me', secret_access_key: SECRET }

describe('an answer', () => {
  let receiver: HttpReceiver

  beforeEach(async () => {
    receiver = await startHttpReceiver()
  })
  afterEach(() => receiver.close())

  function send(reply: Reply, given: Record<string, unknown> = {}) {
    receiver.reply(reply)
    const config = s3Config.parse({ endpoint: receiver.url, ...stated, ...given }) as S3Config
    return s3.deliver({ ...config, timeout_seconds: 5 }, aMessage(), never, surroundings)
  }

  const xml = (code: string, more = '') =>
    `<?xml version="1.0" encoding="UTF-8"?><Error><Code>${code}</Code><Message>As it says</Message>${more}</Error>`

  it.each([
    [503, 'SlowDown', 'THROTTLED', true],
    [503, 'ServiceUnavailable', 'DESTINATION_UNAVAILABLE', true],
    [500, 'InternalError', 'DESTINATION_UNAVAILABLE', true],
    [429, 'TooManyRequests', 'THROTTLED', true],
    [400, 'RequestTimeout', 'TIMEOUT', true],
    [403, 'RequestTimeTooSkewed', 'DESTINATION_UNAVAILABLE', true],
    [409, 'OperationAborted', 'DESTINATION_UNAVAILABLE', true],
    [409, 'ConditionalRequestConflict', 'DESTINATION_UNAVAILABLE', true],
    [400, 'BadDigest', 'DESTINATION_UNAVAILABLE', true],
    [400, 'IncompleteBody', 'DESTINATION_UNAVAILABLE', true],
    [403, 'AccessDenied', 'UNAUTHORIZED', false],
    [403, 'InvalidAccessKeyId', 'UNAUTHORIZED', false],
    [403, 'SignatureDoesNotMatch', 'UNAUTHORIZED', false],
    [400, 'ExpiredToken', 'UNAUTHORIZED', false],
    [400, 'InvalidToken', 'UNAUTHORIZED', false],
    [404, 'NoSuchBucket', 'MISCONFIGURED', false],
    [400, 'AuthorizationHeaderMalformed', 'MISCONFIGURED', false],
    [400, 'KMS.NotFoundException', 'MISCONFIGURED', false],
    [400, 'EntityTooLarge', 'REJECTED', false],
    [400, 'InvalidStorageClass', 'REJECTED', false],
    [400, 'MetadataTooLarge', 'REJECTED', false],
    [405, 'MethodNotAllowed', 'REJECTED', false],
    // Of stores that do not know what the configuration asks for.
    [501, 'NotImplemented', 'REJECTED', false],
    [400, 'InvalidPart', 'DESTINATION_UNAVAILABLE', true],
    [403, 'QuotaExceeded', 'THROTTLED', true],
    [400, 'XMinioAdminBucketQuotaExceeded', 'THROTTLED', true],
    [507, 'XMinioStorageFull', 'DESTINATION_UNAVAILABLE', true],
    // Names that every object of JavaScript has.
    [400, 'constructor', 'REJECTED', false],
    [400, '__proto__', 'REJECTED', false],
  ])('%i %s means %s, tried again: %s', async (status, name, code, retryable) => {
    const error = await failureOf(send({ status, body: xml(name), headers: { 'content-type': 'application/xml' } }))
    expect(error).toMatchObject({
      code,
      retryable,
      message: `the destination answered ${status} (${name})`,
      response: { status, body: `${name}: As it says` },
    })
    expect(receiver.requests).toHaveLength(1)
  })

  it.each([
    [408, 'TIMEOUT', true],
    [429, 'THROTTLED', true],
    [500, 'DESTINATION_UNAVAILABLE', true],
    [502, 'DESTINATION_UNAVAILABLE', true],
    [504, 'DESTINATION_UNAVAILABLE', true],
    [307, 'DESTINATION_UNAVAILABLE', true],
    [301, 'MISCONFIGURED', false],
    [304, 'MISCONFIGURED', false],
    [401, 'UNAUTHORIZED', false],
    [403, 'UNAUTHORIZED', false],
    [404, 'MISCONFIGURED', false],
    [413, 'REJECTED', false],
  ])('a bare %i, or one with the page of somebody else, means %s, tried again: %s', async (status, code, retryable) => {
    for (const body of ['', '<html><body>Not here</body></html>', 'plain', '<Error><Code>', '{"Code":"SlowDown"}']) {
      const error = await failureOf(send({ status, body: status === 304 ? '' : body }))
      expect(error).toMatchObject({ code, retryable, response: { status, body: null } })
    }
  })

  it.each([
    ['nothing', ''],
    ['a page', '<html><body>Welcome to the hotel</body></html>'],
  ])('a 200 with %s and no ETag is not of S3, and no success', async (_, body) => {
    const error = await failureOf(send({ body }))
    expect(error).toMatchObject({ code: 'DESTINATION_UNAVAILABLE', retryable: true, response: { status: 200 } })
  })

  it('a 200 that is an error after all is that error', async () => {
    const error = await failureOf(send({ headers: { etag: '"x"' }, body: xml('SlowDown') }))
    expect(error).toMatchObject({ code: 'THROTTLED' })
  })

  it.each([
    ['and is asked for none of it', ''],
    ['and took some of it', 'HTTP/1.1 100 Continue\r\n\r\n'],
  ])('a 200 of somebody who has not read the document is no success (%s)', async (_, first) => {
    const hasty = createServer((socket) => {
      socket.on('error', () => {})
      socket.once('data', () => {
        socket.pause().write(`${first}HTTP/1.1 200 OK\r\netag: "x"\r\ncontent-length: 0\r\n\r\n`)
      })
    })
    hasty.listen(0, '127.0.0.1')
    await once(hasty, 'listening')
    const { port } = hasty.address() as AddressInfo
    const config = s3Config.parse({ endpoint: `http://127.0.0.1:${port}`, ...stated }) as S3Config
    const message = aMessage({ body: Buffer.alloc(8 * 1024 * 1024, 'x') })
    try {
      const error = await failureOf(s3.deliver(config, message, never, surroundings))
      expect(error).toMatchObject({ code: 'DESTINATION_UNAVAILABLE', retryable: true, response: { status: 200 } })
    } finally {
      hasty.close()
    }
  })

  it.each(['', '<html><body>Welcome to the hotel</body></html>'])(
    'a probe that hears 200 and "%s" has found no S3',
    async (body) => {
      receiver.reply({ body })
      const config = s3Config.parse({ endpoint: receiver.url, ...stated }) as S3Config
      const error = await failureOf(s3.probe(config, never, surroundings))
      expect(error).toMatchObject({ code: 'DESTINATION_UNAVAILABLE', response: { status: 200 } })
    },
  )

  it.each([
    ['in seconds', '7', 7_000],
    ['beyond an hour', '86400', 3_600_000],
    ['that says nothing', 'soon', undefined],
  ])('a Retry-After %s is heard', async (_, value, retryAfterMs) => {
    const error = await failureOf(send({ status: 503, body: xml('SlowDown'), headers: { 'retry-after': value } }))
    expect(error.retryAfterMs).toBe(retryAfterMs)
  })

  it.each([301, 307])('a %i is not followed, wherever it leads', async (status) => {
    const other = await startHttpReceiver()
    try {
      const headers = { location: `${other.url}/documents`, 'x-amz-bucket-region': 'eu-west-3' }
      const error = await failureOf(
        send({ status, headers, body: xml('PermanentRedirect', `<Endpoint>127.0.0.1:${other.port}</Endpoint>`) }),
      )
      expect(error.message.includes('the bucket is in the region "eu-west-3"')).toBe(status === 301)
      expect(receiver.requests).toHaveLength(1)
      expect(other.connections.total).toBe(0)
    } finally {
      await other.close()
    }
  })

  it('a region that is none is not repeated to anybody', async () => {
    const headers = { 'x-amz-bucket-region': '<script>' }
    const error = await failureOf(send({ status: 301, headers, body: xml('PermanentRedirect') }))
    expect(error.message).toBe('the destination answered 301 (PermanentRedirect)')
  })

  it('an endless one costs a bounded amount, and ends', async () => {
    const error = await failureOf(send({ body: Buffer.alloc(64 * 1024, 'x'), endless: true }))
    expect(error).toMatchObject({ code: 'DESTINATION_UNAVAILABLE', retryable: true })
    await receiver.until(({ connections }) => connections.open === 0)
  })

  it('one that is cut off before its stated length is no success', async () => {
    const raw = 'HTTP/1.1 200 OK\r\netag: "x"\r\ncontent-length: 10\r\n\r\nabc'
    const error = await failureOf(send({ raw }))
    expect(error).toMatchObject({ code: 'DESTINATION_UNAVAILABLE', retryable: true })
  })

  it('one that is no HTTP is tried again, and its bytes are in no log', async () => {
    const error = await failureOf(send({ raw: 'SSH-2.0-OpenSSH_9.2\r\n' }))
    expect(error).toMatchObject({ code: 'DESTINATION_UNAVAILABLE', retryable: true })
    expect(JSON.stringify(Object.getOwnPropertyDescriptors(error.cause))).not.toContain('OpenSSH')
  })

  it('characters of an error message that cannot be stored are replaced, and a long message is cut', async () => {
    const said = `a\u0000${'é'.repeat(5_000)}`
    const { response } = await failureOf(
      send({ status: 400, body: `<Error><Code>Odd</Code><Message>${said}</Message></Error>` }),
    )
    const body = response?.body ?? ''
    expect(body.startsWith('Odd: a')).toBe(true)
    expect(body).not.toContain('\u0000')
    expect(body).toHaveLength(1_000)
  })

  it('a store without support for Expect: 100-continue still gets a large body', async () => {
    const body = Buffer.alloc(2 * 1024 * 1024, 'x')
    let got = 0
    const deaf = createServer((socket) => {
      socket.on('error', () => {})
      socket.on('data', (chunk: Buffer) => {
        got += chunk.length
        if (got > body.length) socket.end('HTTP/1.1 200 OK\r\netag: "x"\r\ncontent-length: 0\r\n\r\n')
      })
    })
    deaf.listen(0, '127.0.0.1')
    await once(deaf, 'listening')
    try {
      const { port } = deaf.address() as AddressInfo
      const config = s3Config.parse({ endpoint: `http://127.0.0.1:${port}`, ...stated }) as S3Config
      const receipt = await s3.deliver(config, aMessage({ body }), never, surroundings)
      expect(receipt.metadata).toMatchObject({ etag: '"x"' })
    } finally {
      deaf.close()
    }
  })

  it('a client certificate without its key is MISCONFIGURED', async () => {
    const tls = { client_certificate: certificate('client.pem') }
    const error = await failureOf(send({}, { endpoint: 'https://127.0.0.1:1', tls }))
    expect(error).toMatchObject({ code: 'MISCONFIGURED', retryable: false })
    expect(error.message).toContain('client_key')
  })

  it('a credential that no header can hold is MISCONFIGURED', async () => {
    const error = await failureOf(send({}, { session_token: 'line\nbreak' }))
    expect(error).toMatchObject({ code: 'MISCONFIGURED', retryable: false })
    expect(receiver.requests).toEqual([])
  })
})

describe('a configuration', () => {
  const issues = (given: Record<string, unknown>) => {
    const result = s3Config.safeParse({ endpoint: 'https://store.example', ...stated, ...given })
    return result.success ? [] : result.error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`)
  }

  it.each([
    { endpoint: 'https://store.example/storage/v1/s3' },
    { endpoint: 'http://[::1]:9000' },
    { endpoint: undefined, region: 'eu-central-1' },
    { region: 'auto' },
    { bucket: 'my.bucket-1_X' },
    { bucket: 'alias-abcdef-s3alias' },
    { key: 'a/{payload.items[0].id}/{{x}}.json' },
    { key: '{{attempt_number}}' },
    { key: `${'é'.repeat(502)}{payload.a}{{` },
    { server_side_encryption: 'aws:kms', kms_key_id: 'alias/documents' },
    { metadata: { Kind: '{data_type}' }, tags: { kind: '{data_type}' } },
    { storage_class: 'GLACIER_IR', acl: 'private', expected_bucket_owner: '111122223333' },
  ])('%o is taken', (given) => {
    expect(issues(given)).toEqual([])
  })

  it.each([
    ['endpoint', { endpoint: 'ftp://store.example' }],
    ['endpoint', { endpoint: 'store.example' }],
    ['endpoint', { endpoint: 'https://{tenant_id}.store.example' }],
    ['endpoint', { endpoint: 'https://store.example/{tenant_id}' }],
    ['endpoint', { endpoint: 'https://me:pass@store.example' }],
    ['endpoint', { endpoint: 'https://store.example/?x=1' }],
    ['region', { region: 'eu.evil.example/' }],
    ['region', { region: '' }],
    ['bucket', { bucket: 'a/b' }],
    ['bucket', { bucket: 'a..b' }],
    ['bucket', { bucket: '-b' }],
    ['bucket', { bucket: 'evil.example?' }],
    ['bucket', { bucket: 'arn:aws:s3:us-east-1:1:accesspoint/x' }],
    ['bucket', { bucket: 'fast--use1-az4--x-s3' }],
    ['bucket', { bucket: 'fast--use1-az4--xa-s3' }],
    // The SDK would leave the endpoint for a host of its own making.
    ['bucket', { bucket: 'test-accesspoint-o0123456789abcdef0123456789abcdef0--op-s3' }],
    ['path_style', { endpoint: 'http://10.0.0.1', path_style: false }],
    ['path_style', { endpoint: 'http://[2001:db8::1]', path_style: false }],
    ['key', { key: '' }],
    ['key', { key: '/a' }],
    ['key', { key: 'a//b' }],
    ['key', { key: 'a/' }],
    ['key', { key: 'a/../b' }],
    ['key', { key: './a' }],
    ['key', { key: 'a\nb' }],
    ['key', { key: 'a/{distribution}' }],
    ['key', { key: 'a/{attempt_number}' }],
    ['key', { key: 'a/{{{attempt_number}}}' }],
    ['key', { key: 'é'.repeat(513) }],
    ['key', { key: `${'é'.repeat(512)}{payload.a}{{` }],
    ['key', { key: 'a\ud800' }],
    ['metadata.Delivery-Id', { metadata: { 'Delivery-Id': 'x' } }],
    ['metadata.a b', { metadata: { 'a b': 'x' } }],
    ['metadata.A', { metadata: { a: 'x', A: 'y' } }],
    ['metadata.a', { metadata: { a: '{nothing}' } }],
    ['tags.\ud800', { tags: { '\ud800': 'x' } }],
    ['tags.a', { tags: { a: '\ud800' } }],
    ['tags', { tags: Object.fromEntries(Array.from({ length: 11 }, (_, n) => [`t${n}`, 'x'])) }],
    ['kms_key_id', { kms_key_id: 'x' }],
    ['kms_key_id', { kms_key_id: 'x', server_side_encryption: 'AES256' }],
    ['tls', { endpoint: 'http://store.example', tls: { server_name: 'x' } }],
    ['tls.ca', { tls: { ca: '/etc/ssl/ca.pem' } }],
    ['tls.client_key', { tls: { client_key: 'x' } }],
    ['content_type', { content_type: 'text/plain\r\nx-amz-acl: public-read' }],
    ['expected_bucket_owner', { expected_bucket_owner: '1234' }],
    ['acl', { acl: 'everybody' }],
    ['checksum', { checksum: 'md5' }],
    ['secret_access_key', { secret_access_key: undefined }],
    ['', { surprise: true }],
  ])('is refused for its %s: %o', (field, given) => {
    const found = issues(given)
    expect(found).toHaveLength(1)
    expect(found[0]!.startsWith(`${field}: `)).toBe(true)
  })

  it('without an endpoint reaches AWS, and a credential for another host is not used there', () => {
    const { endpoint: _, ...aws } = { endpoint: '', ...stated, region: 'eu-west-1' }
    const config = { ...aws, secret_access_key: { secret: 'store.key' } }
    expect(reachedHosts(s3Config, s3Config.parse(config))).toEqual([
      { path: ['endpoint'], host: 's3.eu-west-1.amazonaws.com' },
    ])
    const allowing = (host: string) => new Map([['store', { fields: { key: SECRET }, allowed_hosts: [host] }]])
    expect(() => resolveSecrets(s3Config, config, allowing('store.example'))).toThrow(/may not be sent/)
    const resolved = resolveSecrets(s3Config, config, allowing('*.amazonaws.com'))
    expect(resolved).toMatchObject({ secret_access_key: SECRET, path_style: false })
  })

  it('does not change when it is parsed again', () => {
    for (const given of [
      {},
      { endpoint: 'https://store.example' },
      { endpoint: 'https://store.example/', path_style: false },
    ]) {
      const once = s3Config.parse({ ...stated, ...given })
      expect(s3Config.parse(once)).toEqual(once)
    }
  })

  it('is served as JSON schema, with its secrets marked', () => {
    const { properties, additionalProperties } = toJsonSchema(s3Config) as {
      properties: Record<string, { writeOnly?: boolean; description?: string }>
      additionalProperties: boolean
    }
    expect(additionalProperties).toBe(false)
    const secrets = Object.keys(properties).filter((name) => properties[name]!.writeOnly)
    expect(secrets).toEqual(['secret_access_key', 'session_token'])
    for (const [name, { description }] of Object.entries(properties)) expect(description, name).toBeTruthy()
  })
})
