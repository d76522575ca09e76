// The configuration of an S3 destination: its validation, type, masking and published JSON schema.
import { z } from 'zod'
import { originOf, statesTls, template, timeoutSeconds, tls } from '../fields.ts'
import { parseAddress } from '../network/addresses.ts'
import { configuration, credentialField, optionalSecret, type Resolved, reaching, secret } from '../secrets/secret.ts'
import { urlProblem } from '../template/placeholders.ts'
import { keyProblem } from './key.ts'

/** Metadata that every object gets; the first one identifies a repeat. */
export const DELIVERY_ID = 'delivery-id'
const OUR_METADATA = [DELIVERY_ID, 'distribution-id', 'tenant-id']

const endpoint = reaching(
  z
    .string()
    .max(2048)
    .superRefine((value, context) => {
      const problem = urlProblem(value) ?? (/[{}?]/.test(value) ? 'must not have a query or placeholders' : undefined)
      if (problem) context.addIssue({ code: 'custom', message: problem })
    }),
  (value) => (URL.canParse(value) ? new URL(value).hostname : undefined),
  originOf,
)

const key = template(1024).superRefine((value, context) => {
  const problem = keyProblem(value)
  if (problem) context.addIssue({ code: 'custom', message: problem })
})

const metadataName = z
  .string()
  .regex(/^[a-zA-Z0-9][a-zA-Z0-9._-]{0,99}$/, 'must be letters, digits, ".", "_" and "-"')
  .refine((name) => !OUR_METADATA.includes(name.toLowerCase()), 'is set by the Distributor itself')

const metadata = z.record(metadataName, template(2048)).superRefine((value, context) => {
  const seen = new Set<string>()
  for (const name of Object.keys(value)) {
    if (seen.has(name.toLowerCase())) context.addIssue({ code: 'custom', path: [name], message: 'appears twice' })
    seen.add(name.toLowerCase())
  }
})

/** S3's own limits (object tagging): ten tags, keys of 128 and values of 256 characters. */
const tags = z
  .record(z.string().regex(/^[^\p{Cc}\p{Cs}]{1,128}$/u, 'must be 1 to 128 characters'), template(256))
  .refine((value) => Object.keys(value).length <= 10, 'has more than ten tags')

const header = (max: number) =>
  z
    .string()
    .min(1)
    .max(max)
    .regex(/^[\x20-\x7e]*$/, 'must be printable ASCII')

const fields = configuration({
  endpoint: endpoint
    .optional()
    .describe(
      'An http or https URL of the store; by default AWS in `region`. Its host without the bucket is compared with the `allowed_hosts` of a credential',
    ),
  region: z
    .string()
    .regex(/^[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?$/, 'must be the name of a region')
    .default('us-east-1')
    .describe(
      'Region of the bucket. A wrong one fails, and the message names the right one; redirects are not followed',
    ),
  bucket: z
    .string()
    .regex(
      /^[a-zA-Z0-9][a-zA-Z0-9._-]{1,253}[a-zA-Z0-9]$/,
      'must be the name of a bucket, or the alias of an access point',
    )
    .refine((name) => !name.includes('..'), 'must not have two dots in a row')
    // For these bucket names the SDK ignores path style, and for some of them even the endpoint.
    .refine((name) => !/--(x|xa|op)-s3$/.test(name), 'is a directory bucket or on an Outpost, which are not supported')
    .describe('Must exist. A lifecycle rule that removes incomplete uploads is a good idea'),
  key: key.describe('Key of the object. Placeholders are filled in, but cannot add a `/` or a control character'),
  path_style: z
    .boolean()
    .optional()
    .describe(
      'Puts the bucket into the path instead of the host name; `true` by default with an `endpoint`, else `false`',
    ),
  access_key_id: credentialField().describe(
    'The only credentials that are used: no profile, no environment, no instance role',
  ),
  secret_access_key: secret().describe('Signs the requests (Signature Version 4); it is never sent'),
  session_token: optionalSecret().describe('Token of temporary credentials'),
  if_exists: z
    .enum(['overwrite', 'refuse'])
    .default('overwrite')
    .describe(
      '`refuse` sends `If-None-Match: *`, which the store must support. An object that the same delivery wrote before is a success if the credential may read it; otherwise a repeat after a lost answer is REJECTED',
    ),
  content_type: header(200).optional().describe('Content type; by default that of the payload'),
  content_disposition: header(1024).optional().describe('Stored with the object'),
  cache_control: header(1024).optional().describe('Stored with the object'),
  compression: z.enum(['none', 'gzip']).default('none').describe('`gzip` also sets `Content-Encoding: gzip`'),
  metadata: metadata
    .default({})
    .describe(
      'Values may hold placeholders. `delivery-id`, `distribution-id` and `tenant-id` are always added. S3 accepts 2 KB in total',
    ),
  tags: tags.default({}).describe('Object tags; values may hold placeholders'),
  storage_class: z
    .string()
    .regex(/^[A-Za-z0-9_-]{1,64}$/, 'must be the name of a storage class')
    .optional()
    .describe('Such as `STANDARD_IA`'),
  server_side_encryption: z
    .enum(['AES256', 'aws:kms', 'aws:kms:dsse'])
    .optional()
    .describe('By default as the bucket is configured'),
  kms_key_id: header(2048).optional().describe('KMS key for `aws:kms`; by default that of the account'),
  acl: z
    .enum([
      'private',
      'public-read',
      'public-read-write',
      'authenticated-read',
      'aws-exec-read',
      'bucket-owner-read',
      'bucket-owner-full-control',
    ])
    .optional()
    .describe('Canned ACL of the object'),
  expected_bucket_owner: z
    .string()
    .regex(/^\d{12}$/, 'must be the twelve digits of an account')
    .optional()
    .describe('Account that must own the bucket'),
  checksum: z
    .enum(['none', 'crc32', 'crc32c', 'sha1', 'sha256'])
    .default('none')
    .describe(
      'Sent as `x-amz-checksum-…`. Some stores reject it, and buckets with Object Lock need it. Without it the signature covers the bytes',
    ),
  tls: tls(),
  timeout_seconds: timeoutSeconds(),
})

/** Fills in the defaults last, because they depend on the other fields. */
export const s3Config = fields
  .superRefine(({ kms_key_id, server_side_encryption: encryption, endpoint, path_style, tls }, context) => {
    const issue = (field: string, message: string) => context.addIssue({ code: 'custom', path: [field], message })
    if (kms_key_id !== undefined && !encryption?.startsWith('aws:kms')) {
      issue('kms_key_id', 'needs "server_side_encryption": "aws:kms"')
    }
    if (endpoint === undefined || !URL.canParse(endpoint)) return
    const { protocol, hostname } = new URL(endpoint)
    if (path_style === false && parseAddress(hostname)) {
      issue('path_style', 'must be true if the "endpoint" is an IP address: it cannot have the bucket as a subdomain')
    }
    if (protocol === 'http:' && statesTls(tls)) issue('tls', 'cannot be used with an "endpoint" of http://')
  })
  .transform((config) => ({
    ...config,
    endpoint: config.endpoint ?? awsEndpoint(config.region),
    path_style: config.path_style ?? config.endpoint !== undefined,
  }))

export type S3Config = Resolved<z.output<typeof s3Config>>

/** The endpoint of a region of the public partitions; other regions need an `endpoint`. */
function awsEndpoint(region: string): string {
  return `https://s3.${region}.amazonaws.com${region.startsWith('cn-') ? '.cn' : ''}`
}
