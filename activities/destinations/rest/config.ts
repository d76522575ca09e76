// The configuration of a REST destination: its validation, type, masking and published JSON schema.
import { z } from 'zod'
import { originOf, timeoutSeconds, tls } from '../fields.ts'
import { configuration, credentialField, optionalSecret, type Resolved, reaching, secret } from '../secrets/secret.ts'
import { refuseOwned } from '../template/owned-names.ts'
import { hasPlaceholders, placeholderProblem, templateUrl, urlProblem } from '../template/placeholders.ts'
import { httpHeaderProblem } from './owned-headers.ts'

export const REST_METHODS = ['POST', 'PUT', 'PATCH', 'DELETE', 'GET', 'HEAD', 'OPTIONS'] as const

/** How many bytes of a response body are stored by default. */
export const DEFAULT_RESPONSE_BYTES = 64 * 1024

/** A field name of RFC 9110. */
const HEADER_NAME = /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}$/
const CONFIDENTIAL = new Set(['authorization', 'cookie'])

const url = reaching(
  z
    .string()
    .max(2048)
    .superRefine((value, context) => {
      const problem = urlProblem(value)
      if (problem) context.addIssue({ code: 'custom', message: problem })
    }),
  (value) => templateUrl(value)?.hostname,
  originOf,
)

const headerName = z.string().regex(HEADER_NAME, 'is not a header name').superRefine(refuseOwned(httpHeaderProblem))

const headers = z
  .record(
    headerName.refine(
      (name) => !CONFIDENTIAL.has(name.toLowerCase()),
      'is confidential: use "auth" or "secret_headers"',
    ),
    z
      .string()
      .max(8192)
      .superRefine((value, context) => {
        const problem = /[^\P{Cc}\t]/u.test(value) ? 'has a control character' : placeholderProblem(value)
        if (problem) context.addIssue({ code: 'custom', message: problem })
      }),
  )
  .superRefine((value, context) => {
    const seen = new Set<string>()
    for (const name of Object.keys(value)) {
      if (seen.has(name.toLowerCase())) context.addIssue({ code: 'custom', path: [name], message: 'appears twice' })
      seen.add(name.toLowerCase())
    }
  })

const auth = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('none') }),
  z.strictObject({
    type: z.literal('basic'),
    username: credentialField().describe('User name'),
    password: secret().describe('Password'),
  }),
  z.strictObject({ type: z.literal('bearer'), token: secret().describe('Sent as `Authorization: Bearer …`') }),
  z
    .strictObject({
      type: z.literal('api_key'),
      in: z.enum(['header', 'query']).default('header').describe('Where the key is sent'),
      name: z
        .string()
        .regex(HEADER_NAME, 'is not a header name')
        .default('X-API-Key')
        .describe('Header or query parameter'),
      api_key: secret().describe('The key'),
    })
    .superRefine(({ in: place, name }, context) => {
      const message = place === 'header' ? httpHeaderProblem(name) : undefined
      if (message !== undefined) context.addIssue({ code: 'custom', path: ['name'], message })
    }),
  z.strictObject({
    type: z.literal('oauth2'),
    token_url: url
      .refine((value) => !hasPlaceholders(value), 'must not contain placeholders')
      .describe('Token endpoint of the client credentials grant'),
    client_id: credentialField().describe('Client id'),
    client_secret: secret().describe('Client secret'),
    client_authentication: z.enum(['basic', 'body']).default('basic').describe('How the client secret is sent'),
    scope: z.string().max(1000).optional().describe('Sent with the token request'),
    audience: z.string().max(1000).optional().describe('Sent with the token request'),
    resource: z.string().max(1000).optional().describe('Sent with the token request'),
  }),
])

export const restConfig = configuration({
  endpoint: url.describe(
    'An http or https URL. Placeholders in path and query are filled in and percent-encoded; they cannot set scheme, user, host or port',
  ),
  method: z.enum(REST_METHODS).default('POST').describe('GET, HEAD and OPTIONS have no body'),
  headers: headers.default({}).describe('Values may hold placeholders'),
  secret_headers: z.record(headerName, secret()).default({}).describe('Headers whose values are secrets'),
  auth: auth.default({ type: 'none' }).describe('How the request authenticates'),
  tls: tls(),
  signing: z
    .strictObject({
      signing_secret: secret().describe('`whsec_…` in base64, as Standard Webhooks defines it'),
      previous_signing_secret: optionalSecret().describe('Adds a second signature while the secret is being changed'),
    })
    .optional()
    .describe('Signs with Standard Webhooks: `webhook-id`, `webhook-timestamp`, `webhook-signature`'),
  compression: z.enum(['none', 'gzip']).default('none').describe('Compression of the request body'),
  timeout_seconds: timeoutSeconds(),
  max_response_bytes: z
    .int()
    .min(0)
    .max(1024 * 1024)
    .default(DEFAULT_RESPONSE_BYTES)
    .describe('How many bytes of a response body are stored'),
})

export type RestConfig = Resolved<z.output<typeof restConfig>>
export type RestAuth = RestConfig['auth']
