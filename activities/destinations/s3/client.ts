// Creates the SDK's client with every setting stated. The SDK would look for a missing one in the environment, in files
// of the home folder or at the metadata address of the cloud.

import type { S3Client } from '@aws-sdk/client-s3'
import { aheadMs } from '../../../db/clock.ts'
import type { S3Config } from './config.ts'
import type { Exchange } from './exchange.ts'

/**
 * From this size on `Expect: 100-continue` is used. A smaller body fits into the buffers; the extra round trip is
 * saved.
 */
const LARGE_BODY = 1024 * 1024

let loading: ReturnType<typeof load> | undefined

/**
 * Loads the SDK at its first use (about 130 ms and 25 MB), so that code that needs only the schemas does not load it.
 */
export function loadSdk(): ReturnType<typeof load> {
  // Kept, because otherwise the loader of TypeScript would run each time.
  loading ??= load()
  return loading
}

async function load() {
  const [s3, { Upload }] = await Promise.all([import('@aws-sdk/client-s3'), import('@aws-sdk/lib-storage')])
  return { s3, Upload }
}

export type Sdk = Awaited<ReturnType<typeof load>>

/** Without a logger the SDK prints warnings about answers. */
const SILENT = { trace() {}, debug() {}, info() {}, warn() {}, error() {} }

/** Each attempt gets its own client, so that attempts share no connection, no clock and no credential. */
export function clientOf(sdk: Sdk, config: S3Config, exchange: Exchange): S3Client {
  return new sdk.s3.S3Client({
    endpoint: config.endpoint,
    region: config.region,
    forcePathStyle: config.path_style,
    credentials: {
      accessKeyId: config.access_key_id,
      secretAccessKey: config.secret_access_key,
      ...(config.session_token !== undefined && { sessionToken: config.session_token }),
    },
    requestHandler: exchange.handler,
    logger: SILENT,
    defaultUserAgentProvider: async () => [['Distributor']],
    // No retries here: the workflow retries the whole attempt.
    maxAttempts: 1,
    retryMode: 'standard',
    followRegionRedirects: false,
    // Stores other than AWS may refuse checksums; the setting `checksum` turns one on.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    // A number is the size in bytes; see exchange.ts.
    expectContinueHeader: LARGE_BODY,
    // The values below do not matter, but the SDK would search for missing ones.
    defaultsMode: 'standard',
    authSchemePreference: ['aws.auth#sigv4'],
    sigv4aSigningRegionSet: [config.region],
    disableS3ExpressSessionAuth: true,
    disableMultiregionAccessPoints: true,
    useArnRegion: false,
    useDualstackEndpoint: false,
    useFipsEndpoint: false,
    useAccelerateEndpoint: false,
    userAgentAppId: async () => undefined,
    // A signature is valid for some minutes, and this machine's clock may be wrong. With the correction the SDK adds
    // the offset to the database's clock. If the setting is missing, the SDK looks in files.
    disableClockSkewCorrection: false,
    systemClockOffset: -aheadMs(),
  })
}
