// S3's SDK looks for what it is not told. In a file and so in a process of its own, for it looks once and remembers.
import { execFileSync } from 'node:child_process'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it, vi } from 'vitest'
import { type S3Config, s3Config } from '../../../activities/destinations/s3/config.ts'
import { s3 } from '../../../activities/destinations/s3/index.ts'
import { temporaryFolder } from '../../support/folders.ts'
import { startHttpReceiver } from '../../support/receivers/http.ts'
import { aMessage, failureOf, never, SECRET, surroundings } from './contract.ts'

it('S3 takes nothing from the environment, and opens no file of the home folder', async () => {
  const folder = temporaryFolder('s3-files')
  const receiver = await startHttpReceiver({ script: { headers: { etag: '"x"' } } })
  // A process that opens one of these for reading waits forever, because nothing writes to it.
  const files = ['config', 'credentials'].map((name) => join(folder, name))
  for (const file of files) execFileSync('mkfifo', [file])
  const environment = {
    AWS_CONFIG_FILE: files[0]!,
    AWS_SHARED_CREDENTIALS_FILE: files[1]!,
    AWS_ACCESS_KEY_ID: 'other',
    AWS_SECRET_ACCESS_KEY: 'other',
    AWS_SESSION_TOKEN: 'other',
    AWS_REGION: 'eu-west-1',
    AWS_PROFILE: 'other',
    AWS_ENDPOINT_URL: 'http://127.0.0.1:1',
    AWS_ENDPOINT_URL_S3: 'http://127.0.0.1:1',
    AWS_MAX_ATTEMPTS: '5',
    AWS_RETRY_MODE: 'adaptive',
    AWS_REQUEST_CHECKSUM_CALCULATION: 'when_supported',
    AWS_USE_DUALSTACK_ENDPOINT: 'true',
    AWS_USE_FIPS_ENDPOINT: 'true',
    AWS_S3_USE_ARN_REGION: 'true',
    AWS_SDK_UA_APP_ID: 'other',
  }
  for (const [name, value] of Object.entries(environment)) vi.stubEnv(name, value)
  try {
    const config = s3Config.parse({
      endpoint: receiver.url,
      bucket: 'documents',
      key: '{delivery_id}',
      access_key_id: 'me',
      secret_access_key: SECRET,
    }) as S3Config
    const patient = { ...config, timeout_seconds: 5 }
    await s3.deliver(patient, aMessage(), never, surroundings)
    const { headers, path } = receiver.requests[0]!
    expect(path).toMatch(/^\/documents\//)
    expect(headers.authorization).toMatch(/Credential=me\/\d{8}\/us-east-1\/s3\//)
    expect(headers['x-amz-security-token']).toBeUndefined()
    expect(headers['amz-sdk-request']).toBe('attempt=1; max=1')
    expect(JSON.stringify(headers)).not.toMatch(/checksum|other/)

    receiver.reply({ status: 503 })
    for (const attempt of [
      () => s3.deliver(patient, aMessage({ body: Buffer.alloc(9 * 1024 * 1024) }), never, surroundings),
      () => s3.probe(patient, never, surroundings),
    ]) {
      expect(await failureOf(attempt())).toMatchObject({ code: 'DESTINATION_UNAVAILABLE', response: { status: 503 } })
    }
    expect(receiver.requests).toHaveLength(3)
  } finally {
    vi.unstubAllEnvs()
    await receiver.close()
    rmSync(folder, { recursive: true })
  }
})
