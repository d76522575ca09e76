// An S3 server of its own: versitygw, which keeps objects as files.
import { once } from 'node:events'
import { mkdirSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import type { S3Client } from '@aws-sdk/client-s3'
import { serverEnvironment } from '../../../temporal-config/process/settings.ts'
import { freePort } from '../../../temporal-config/stack/ports.ts'
import { temporaryFolder } from '../folders.ts'
import { obtainProgram } from './programs.ts'
import { type Receiver, startReceiver } from './receiver.ts'

/** Objects that are read at the same time. */
const AT_ONCE = 50

export interface VersitygwOptions {
  access_key: string
  secret_key: string
  region?: string
  /** A free one by default. */
  port?: number
  /** Requests to `<bucket>.<domain>` mean that bucket, beside those with the bucket in the path. */
  virtual_domain?: string
  /** Files with PEM: the server then speaks TLS alone. */
  tls?: { cert: string; key: string }
  /** Hears of an installation. */
  say?: (line: string) => void
}

export interface StoredObject {
  key: string
  body: Buffer
  content_type: string | undefined
  content_encoding: string | undefined
  metadata: Record<string, string>
}

export interface Versitygw extends Receiver {
  /** For path style. */
  endpoint: string
  region: string
  /** Acts for the server's owner; the caller ends it. Not for a server with TLS, whose authority it does not know. */
  client(): Promise<S3Client>
  makeBucket(name: string, options?: { versioning?: boolean }): Promise<void>
  /** All that a bucket holds, oldest first. */
  objects(bucket: string): Promise<StoredObject[]>
}

export async function startVersitygw(options: VersitygwOptions): Promise<Versitygw> {
  const { access_key, secret_key, region = 'us-east-1', tls, say = () => {} } = options
  const program = await obtainProgram('versitygw', say)
  const port = options.port ?? (await freePort(0))
  const folder = temporaryFolder('versitygw')
  const [objects, versions, metadata] = ['objects', 'versions', 'metadata'].map((name) => join(folder, name))
  for (const each of [objects!, versions!, metadata!]) mkdirSync(each)
  const receiver = await startReceiver({
    name: 'versitygw',
    command: {
      program,
      args: [
        ...['--port', `127.0.0.1:${port}`, '--region', region, '--quiet'],
        ...(options.virtual_domain === undefined ? [] : ['--virtual-domain', options.virtual_domain]),
        ...(tls ? ['--cert', tls.cert, '--key', tls.key] : []),
        // Metadata in files of its own, for not every file system of a temporary folder has extended attributes.
        ...['posix', '--versioning-dir', versions!, '--sidecar', metadata!, objects!],
      ],
      env: { ...serverEnvironment(), ROOT_ACCESS_KEY: access_key, ROOT_SECRET_KEY: secret_key },
      stop_signals: ['SIGTERM'],
    },
    folder,
    port,
    answers: () => listens(port),
  })
  const endpoint = `${tls ? 'https' : 'http'}://127.0.0.1:${port}`

  async function client(): Promise<S3Client> {
    const { S3Client } = await import('@aws-sdk/client-s3')
    const credentials = { accessKeyId: access_key, secretAccessKey: secret_key }
    return new S3Client({ endpoint, region, credentials, forcePathStyle: true, defaultsMode: 'standard' })
  }

  async function asking<T>(work: (s3: S3Client) => Promise<T>): Promise<T> {
    const s3 = await client()
    try {
      return await work(s3)
    } finally {
      s3.destroy()
    }
  }

  return {
    ...receiver,
    endpoint,
    region,
    client,
    makeBucket: (Bucket, { versioning = false } = {}) =>
      asking(async (s3) => {
        const { CreateBucketCommand, PutBucketVersioningCommand } = await import('@aws-sdk/client-s3')
        await s3.send(new CreateBucketCommand({ Bucket }))
        if (!versioning) return
        await s3.send(new PutBucketVersioningCommand({ Bucket, VersioningConfiguration: { Status: 'Enabled' } }))
      }),
    objects: (Bucket) =>
      asking(async (s3) => {
        const { paginateListObjectsV2 } = await import('@aws-sdk/client-s3')
        const objects: (StoredObject & { at: number })[] = []
        for await (const { Contents = [] } of paginateListObjectsV2({ client: s3, pageSize: AT_ONCE }, { Bucket })) {
          const page = Contents.map(async ({ Key = '', LastModified }) => ({
            ...(await readObject(s3, Bucket, Key)),
            at: Number(LastModified),
          }))
          objects.push(...(await Promise.all(page)))
        }
        return objects.toSorted((a, b) => a.at - b.at).map(({ at: _, ...object }) => object)
      }),
  }
}

async function readObject(s3: S3Client, bucket: string, key: string): Promise<StoredObject> {
  const { GetObjectCommand } = await import('@aws-sdk/client-s3')
  const {
    Body,
    ContentType,
    ContentEncoding,
    Metadata = {},
  } = await s3.send(new GetObjectCommand({ Bucket: bucket, Key: key }))
  const body = Buffer.from((await Body?.transformToByteArray()) ?? [])
  return { key, body, content_type: ContentType, content_encoding: ContentEncoding, metadata: Metadata }
}

async function listens(port: number): Promise<boolean> {
  const socket = connect({ host: '127.0.0.1', port })
  try {
    await once(socket, 'connect')
    return true
  } catch {
    return false
  } finally {
    socket.destroy()
  }
}
