// The SDK, told everything: what it is not told it would look for in the environment, in files of the home folder or at
// the metadata address of the cloud.

import type { S3Client } from '@aws-sdk/client-s3'
import { aheadMs } from '../../../db/clock.ts'
import type { S3Config } from './config.ts'
import type { Exchange } from './exchange.ts'

/** A smaller one fits into the buffers on its way, and costs no round trip more. */
const LARGE_BODY = 1024 * 1024

let loading: ReturnType<typeof load> | undefined

/** Loaded at the first use (about 130 ms and 25 MB): whoever needs schemas alone does without. */
export function loadSdk(): ReturnType<typeof load> {
  // Kept, for the loader of TypeScript would be asked each time.
  loading ??= load()
  return loading
}

async function load() {
  const [s3, { Upload }] = await Promise.all([import('@aws-sdk/client-s3'), import('@aws-sdk/lib-storage')])
  return { s3, Upload }
}

export type Sdk = Awaited<ReturnType<typeof load>>

/** Without one the SDK prints what it thinks of a store's answers. */
const SILENT = { trace() {}, debug() {}, info() {}, warn() {}, error() {} }

/** One per attempt, so that nothing is shared: no connection, no clock, no credential. */
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
    // Each request on the wire is a part of this attempt, and the attempt is repeated by others.
    maxAttempts: 1,
    retryMode: 'standard',
    followRegionRedirects: false,
    // Stores that are not AWS refuse what they do not know; `checksum` asks for one.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    // Asked from this size on, in bytes; see exchange.ts.
    expectContinueHeader: LARGE_BODY,
    // From here on all that matters is that it is said.
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
    // A signature is good for some minutes: by the database's clock, not by this machine's. The correction is what adds the
    // offset; where nothing is said of it, the SDK looks in files.
    disableClockSkewCorrection: false,
    systemClockOffset: -aheadMs(),
  })
}
