// What the tests of S3 on a real server share: the server, a bucket for each test, and a proxy before it.
import { randomUUID } from 'node:crypto'
import { ListMultipartUploadsCommand, type S3Client } from '@aws-sdk/client-s3'
import { afterAll, afterEach, beforeAll, beforeEach, expect } from 'vitest'
import type { Message } from '../../../activities/destinations/destination.ts'
import { type S3Config, s3Config } from '../../../activities/destinations/s3/config.ts'
import { s3 } from '../../../activities/destinations/s3/index.ts'
import { INSTALL_MS } from '../../support/receivers/needs.ts'
import { startVersitygw, type Versitygw } from '../../support/receivers/s3.ts'
import { type FrontedRequest, type S3Front, startS3Front } from '../../support/receivers/s3-front.ts'
import { aMessage, never, SECRET, surroundings } from './contract.ts'

export const MIB = 1024 * 1024

export const isPart = ({ method, path }: FrontedRequest) => method === 'PUT' && path.includes('partNumber=')
export const isPut = ({ method, path }: FrontedRequest) => method === 'PUT' && !path.includes('partNumber=')

/** To be made at the top of a `describe`; server and bucket are there once its tests run. */
export class Store {
  server!: Versitygw
  client!: S3Client
  /** In front of the server, new for each test. */
  front!: S3Front
  /** New for each test. */
  bucket!: string

  constructor() {
    beforeAll(async () => {
      this.server = await startVersitygw({ access_key: 'owner', secret_key: SECRET, virtual_domain: 's3.test' })
      this.client = await this.server.client()
    }, INSTALL_MS)
    afterAll(async () => {
      this.client?.destroy()
      await this.server?.close()
    })
    beforeEach(async () => {
      await this.makeBucket()
      this.front = await startS3Front(this.server)
    })
    afterEach(() => this.front.close())
  }

  /** The test's bucket from now on. */
  async makeBucket(options: { versioning?: boolean } = {}): Promise<void> {
    this.bucket = `b-${randomUUID()}`
    await this.server.makeBucket(this.bucket, options)
  }

  /** Leads through the front to this test's bucket. */
  aConfig(given: Record<string, unknown> = {}): S3Config {
    const { timeout_seconds = 15, ...rest } = given
    const parsed = s3Config.parse({
      endpoint: this.front.url,
      bucket: this.bucket,
      key: '{delivery_id}.json',
      access_key_id: 'owner',
      secret_access_key: SECRET,
      ...rest,
    }) as S3Config
    return { ...parsed, timeout_seconds: timeout_seconds as number }
  }

  send(given: Record<string, unknown> = {}, message: Partial<Message> = {}, signal = never) {
    return s3.deliver(this.aConfig(given), aMessage(message), signal, surroundings)
  }

  /** The one object of this test. */
  async stored() {
    const objects = await this.server.objects(this.bucket)
    expect(objects).toHaveLength(1)
    return objects[0]!
  }

  /** Uploads in parts that were begun, and neither completed nor given up. */
  uploads = async () => {
    const { Uploads = [] } = await this.client.send(new ListMultipartUploadsCommand({ Bucket: this.bucket }))
    return Uploads
  }
}
