// Credentials, the audit log, tenants and their keys.
import { z } from '@hono/zod-openapi'
import { allowedHostProblem } from '../../activities/destinations/secrets/allowed-hosts.ts'
import { MASK } from '../../activities/destinations/secrets/secret.ts'
import { ROLES, TENANT_STATUSES } from '../../db/states.ts'
import { OBJECT_KINDS, type ObjectKind } from '../../db/tenants/object-limits.ts'
import { characters, dayOrInstant, instant, nameField, TENANT_ID, tenantField, time, whole } from './fields.ts'
import { rateLimit } from './limits.ts'
import { cursorPagination, cursorQuery } from './pages.ts'

const secretFields = z
  .record(
    characters(1, 100),
    characters(1, 32_768).refine((value) => value !== MASK, 'must be the secret itself, not its mask'),
  )
  .refine((fields) => Object.keys(fields).length > 0, 'must have at least one field')
  .refine((fields) => Object.keys(fields).length <= 50, 'must have at most 50 fields')
  .openapi({ description: 'Write-only: never returned', example: { username: 'reporter', password: 's3cr3t' } })
const allowedHosts = z
  .array(
    z
      .string()
      .max(300)
      .superRefine((entry, context) => {
        const problem = allowedHostProblem(entry)
        if (problem) context.addIssue({ code: 'custom', message: problem })
      }),
  )
  .max(100)
  .nullish()
  .openapi({
    description:
      'Hosts that the secret may be sent to, without a port; `*.example.org` allows every name below `example.org`. If absent, only the hosts of the registered destinations that use it are allowed, and no inline destination can use it',
    example: ['api.example.com', '*.example.org'],
  })

export const credentialParams = z.object({
  name: z.string().openapi({ param: { name: 'name', in: 'path' }, example: 'reporter-login' }),
})
export const newCredential = z
  .strictObject({ tenant_id: tenantField, name: nameField, fields: secretFields, allowed_hosts: allowedHosts })
  .openapi('NewCredential')
export const credentialReplacement = z
  .strictObject({ tenant_id: tenantField, fields: secretFields.optional(), allowed_hosts: allowedHosts })
  .openapi('CredentialReplacement')
export const credential = z
  .object({
    id: z.uuid(),
    name: z.string(),
    field_names: z.array(z.string()),
    allowed_hosts: z.array(z.string()).nullable(),
    registered_hosts: z.array(z.string()).nullable().openapi({
      description: 'Without `allowed_hosts`: the hosts of the registered destinations that use it',
    }),
    created_at: time,
    updated_at: time,
  })
  .openapi('Credential')
export const credentialList = z.object({ credentials: z.array(credential) }).openapi('CredentialList')

export const auditQuery = z.strictObject({
  action: characters(1, 100).optional().openapi({ example: 'disable' }),
  resource_type: characters(1, 50).optional().openapi({ example: 'destination' }),
  resource_id: characters(1, 200)
    .optional()
    .openapi({ description: 'For a distribution or a batch, its id or its uuid; for a destination, its uuid' }),
  from_date: dayOrInstant.optional(),
  to_date: dayOrInstant.optional(),
  ...cursorQuery,
})
export const auditLog = z
  .object({
    events: z.array(
      z.object({
        id: z.string(),
        tenant_id: z.string(),
        actor: z.string(),
        action: z.string(),
        resource_type: z.string(),
        resource_id: z.string(),
        details: z.record(z.string(), z.unknown()),
        request_id: z.string().nullable(),
        created_at: time,
      }),
    ),
    pagination: cursorPagination,
  })
  .openapi('AuditLog')

export const tenantParams = z.object({
  id: z
    .string()
    .regex(TENANT_ID)
    .openapi({ param: { name: 'id', in: 'path' }, example: 'demo' }),
})
const tenantFields = {
  name: characters(1, 100),
  description: characters(0, 10_000).nullish(),
  require_known_data_type: z.boolean(),
}
const requestLimit = whole(1, 1_000_000)
const tenantLimits = {
  object_limits: z
    .strictObject(
      Object.fromEntries(OBJECT_KINDS.map((kind) => [kind, whole(0, 1_000_000).nullable().optional()])) as Record<
        ObjectKind,
        z.ZodOptional<z.ZodNullable<z.ZodInt>>
      >,
    )
    .optional()
    .openapi({
      description: 'Maximum number of objects of each kind. Absent fields stay unchanged; null restores the default',
    }),
  rate_limit_requests: requestLimit.nullable().optional().openapi({
    description: 'Maximum requests per window, except to health and docs; null means no limit. Default 1000',
  }),
  rate_limit_window_seconds: whole(1, 86_400).optional().openapi({ description: 'Default 60' }),
  burst_limit: whole(1, 1_000_000)
    .optional()
    .openapi({ description: 'Requests that may arrive at once; further ones are spread evenly. Default 200' }),
  delivery_rate_limit: rateLimit
    .nullable()
    .optional()
    .openapi({ description: 'Rate limit for all delivery attempts of the tenant together. Absent: none' }),
  event_url: z.string().max(2048, 'must have at most 2048 characters').nullable().optional().openapi({
    description: 'Receives events for operators, such as a destination that was disabled; signed like callbacks',
    example: 'https://sender.example/events',
  }),
}
const tenantId = z.string().regex(TENANT_ID, 'must be 1 to 50 letters, digits, _ or -, the first a letter or digit')
export const newTenant = z
  .strictObject({
    id: tenantId,
    name: tenantFields.name.optional().openapi({ description: 'Default: the id' }),
    description: tenantFields.description,
    callback_secret: z
      .string()
      .regex(/^whsec_[A-Za-z0-9+/]{32,88}={0,2}$/, 'must be whsec_ and 24 to 64 bytes in base64')
      .optional()
      .openapi({ description: 'Signs its callbacks. Generated if absent. Write-only: never returned' }),
    ...tenantLimits,
  })
  .openapi('NewTenant')
export const tenantChange = z
  .strictObject({
    name: tenantFields.name.optional(),
    description: tenantFields.description,
    status: z.enum(TENANT_STATUSES).optional(),
    require_known_data_type: tenantFields.require_known_data_type.optional(),
    ...tenantLimits,
  })
  .openapi('TenantChange')
export const tenant = z
  .object({
    id: z.string(),
    name: z.string(),
    description: z.string().nullable(),
    status: z.enum(TENANT_STATUSES),
    config: z.record(z.string(), z.unknown()),
    require_known_data_type: z.boolean(),
    rate_limit_requests: z.int().nullable(),
    rate_limit_window_seconds: z.int(),
    burst_limit: z.int(),
    delivery_rate_limit: rateLimit.nullable(),
    object_limits: z
      .record(z.enum(OBJECT_KINDS), z.int())
      .openapi({ description: 'Maximum number of objects of each kind' }),
    event_url: z.string().nullable(),
    created_at: time,
    updated_at: time,
  })
  .openapi('Tenant')
export const tenantList = z.object({ tenants: z.array(tenant) }).openapi('TenantList')

export const keyParams = tenantParams.extend({
  key_id: z.uuid().openapi({ param: { name: 'key_id', in: 'path' } }),
})
export const newKey = z
  .strictObject({
    name: characters(1, 100),
    role: z.enum(ROLES),
    expires_at: instant.nullish(),
    rate_limit_requests: requestLimit
      .nullish()
      .openapi({ description: 'Maximum requests of this key per window, within the limit of the tenant' }),
  })
  .openapi('NewApiKey', { example: { name: 'reporting service', role: 'operator' } })
export const apiKey = z
  .object({
    id: z.uuid(),
    tenant_id: z.string(),
    name: z.string(),
    prefix: z.string().openapi({ description: 'The first characters of the key' }),
    role: z.enum(ROLES),
    rate_limit_requests: z.int().nullable(),
    created_at: time,
    last_used_at: time.nullable().openapi({ description: 'Time of the last use, accurate to about a minute' }),
    expires_at: time.nullable(),
    revoked_at: time.nullable(),
  })
  .openapi('ApiKey')
export const madeKey = apiKey
  .extend({ key: z.string().openapi({ description: 'Returned only in this response' }) })
  .openapi('MadeApiKey')
export const keyList = z.object({ api_keys: z.array(apiKey) }).openapi('ApiKeyList')
