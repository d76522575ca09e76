// Requests and responses of registered destinations.
import { z } from '@hono/zod-openapi'
import { PROTOCOLS } from '../../activities/destinations/registry.ts'
import { CIRCUIT_DEFAULTS } from '../../db/destinations/circuits.ts'
import { CIRCUIT_STATES, DELIVERY_CODES, DESTINATION_STATUSES, HEALTH_STATUSES } from '../../db/states.ts'
import { characters, nameField, storedProtocol, tenantField, time, whole } from './fields.ts'
import { rateLimit } from './limits.ts'
import { offsetPagination, offsetQuery } from './pages.ts'
import { maxRetries } from './submission.ts'

const object = z.record(z.string(), z.unknown())

/** Paths contain the name or the uuid of a destination, or a word of the API. */
const registeredName = nameField
  .refine((name) => name !== 'list' && name !== 'register', 'is reserved by the API')
  .refine((name) => !z.uuid().safeParse(name).success, 'must not look like a uuid')

export const destinationParams = z.object({
  id: z
    .string()
    .openapi({ param: { name: 'id', in: 'path' }, description: 'The uuid or the name', example: 'ms09-reporter' }),
})

const circuitBreaker = z
  .strictObject({
    failures: whole(1, 1000).default(CIRCUIT_DEFAULTS.failures).openapi({
      description: 'Consecutive failures that open the circuit. Only unavailable, timeout and throttled count',
    }),
    open_seconds: whole(1, 3600)
      .default(CIRCUIT_DEFAULTS.open_seconds)
      .openapi({ description: 'How long deliveries wait before one of them tries again' }),
  })
  .openapi('CircuitBreaker')
const autoDisable = z
  .strictObject({
    failures: whole(2, 100_000).openapi({ description: 'Consecutive failures that disable the destination' }),
    over_seconds: whole(1, 2_592_000).default(3600).openapi({
      description: 'Minimum time since the first of these failures, so that a short outage disables nothing',
    }),
  })
  .openapi('AutoDisable')
const healthCheck = z
  .strictObject({
    enabled: z.boolean().default(false),
    interval_seconds: whole(10, 86_400).default(60).openapi({ description: 'Seconds between two checks' }),
  })
  .openapi('HealthCheck')
const maxConcurrency = whole(1, 1000)

const content = {
  tenant_id: tenantField,
  description: characters(0, 10_000).nullish(),
  configuration: object.openapi({
    description:
      'The fields of the protocol (`GET /destination-types`). Plain-text secrets are stored encrypted and shown as `***`.',
    example: { endpoint: 'https://reporter.example/documents', auth: { type: 'bearer', token: 's3cr3t' } },
  }),
  transform_config: object.nullish().openapi({
    description:
      'How the payload is shaped before it is sent. `GET /destination-types` returns the schema as `transform_schema`',
    example: { exclude: ['rows[*].tax_code'], output: { format: 'csv', rows_path: 'rows' } },
  }),
  health_check_config: healthCheck.nullish().openapi({
    description: 'Tests the connection at intervals, without delivering anything. Absent: only on request',
    example: { enabled: true, interval_seconds: 60 },
  }),
  circuit_breaker: circuitBreaker.nullish().openapi({ description: 'Default: 5 failures, 60 s' }),
  auto_disable: autoDisable.nullish().openapi({
    description: 'Disables the destination after many failures in a row; its deliveries wait. Absent: never',
  }),
  rate_limit: rateLimit.nullish().openapi({ description: 'Rate limit for attempts, over all workers. Absent: none' }),
  max_concurrency: maxConcurrency
    .nullish()
    .openapi({ description: 'Maximum concurrent attempts, over all workers. Absent: no limit' }),
  tags: z.array(characters(1, 100)).max(50).nullish(),
  max_retries: maxRetries.nullish(),
}

export const registration = z
  .strictObject({ name: registeredName, protocol: z.enum(PROTOCOLS), ...content })
  .openapi('DestinationRegistration', {
    example: {
      name: 'ms09-reporter',
      protocol: 'REST',
      description: 'Monthly reports',
      configuration: { endpoint: 'https://reporter.example/documents', auth: { type: 'bearer', token: 's3cr3t' } },
      tags: ['reports'],
    },
  })

export const replacement = z
  .strictObject({ name: nameField.optional(), protocol: z.enum(PROTOCOLS).optional(), ...content })
  .openapi('DestinationReplacement', {
    description:
      'Replaces all fields. A secret sent as `***` stays unchanged. The name and the protocol cannot change.',
  })

export const destination = z
  .object({
    id: z.uuid(),
    name: z.string(),
    description: z.string().nullable(),
    protocol: storedProtocol,
    supported: z.boolean().openapi({
      description:
        '`false`: the protocol belongs to a newer version of the Distributor. `configuration` is masked as a whole, and deliveries fail with `MISCONFIGURED`',
    }),
    status: z.enum(DESTINATION_STATUSES),
    status_reason: z.string().nullable().openapi({ description: 'The reason, if the Distributor disabled it' }),
    configuration: object,
    transform_config: object,
    health_check_config: object,
    circuit_breaker: circuitBreaker.openapi({ description: 'The values in effect' }),
    auto_disable: autoDisable.nullable(),
    rate_limit: rateLimit.nullable(),
    max_concurrency: z.int().nullable(),
    circuit: z
      .object({
        state: z.enum(CIRCUIT_STATES).openapi({
          description:
            '`open`: deliveries wait. `half_open`: one delivery tries; its result closes or opens the circuit',
        }),
        consecutive_failures: z.int(),
        failing_since: time.nullable(),
        opened_at: time.nullable(),
        open_until: time.nullable().openapi({ description: 'When one delivery may try again' }),
      })
      .openapi('Circuit'),
    version: z.int(),
    max_retries: z.int().nullable(),
    tags: z.array(z.string()),
    created_at: time,
    updated_at: time,
    last_used: time.nullable(),
    usage_count: z.int(),
    health_status: z
      .enum(['healthy', 'unhealthy', 'unknown'])
      .openapi({ description: 'The result of the last health check or test' }),
    last_health_check: time.nullable(),
  })
  .openapi('Destination')

export const writtenDestination = destination
  .extend({
    warnings: z
      .array(z.string())
      .optional()
      .openapi({ description: 'Credentials that the configuration names and that are not stored yet' }),
  })
  .openapi('WrittenDestination')

export const destinationListQuery = z.strictObject({
  protocol: z.enum(PROTOCOLS).optional(),
  status: z.enum(DESTINATION_STATUSES).optional(),
  tag: characters(1, 100).optional(),
  health_status: z.enum(HEALTH_STATUSES).optional(),
  ...offsetQuery,
})

export const destinationList = z
  .object({
    destinations: z.array(destination),
    pagination: offsetPagination,
  })
  .openapi('DestinationList')

export const probeAnswer = z
  .object({
    destination: z.string(),
    healthy: z.boolean(),
    error_code: z.enum(DELIVERY_CODES).nullable(),
    error_message: z.string().nullable(),
    response_time_ms: z.int(),
  })
  .openapi('ProbeResult')

export const namedDestination = z
  .object({
    name: z.string(),
    named_by_rules: z.array(z.string()).openapi({
      description:
        'Rules of the tenant that name the destination, at most 100. Deliveries that they route to it fail with `DESTINATION_DELETED` until the rules change or the name is registered again',
    }),
    in_default_route: z.boolean(),
  })
  .openapi('NamedDestination')

export const destinationTypes = z
  .object({
    destination_types: z.array(
      z.object({
        protocol: z.enum(PROTOCOLS),
        config_schema: object.openapi({ description: 'JSON Schema of `configuration`' }),
      }),
    ),
    transform_schema: object.openapi({
      description: 'JSON Schema of `transform_config`, and of `shape` in a rule',
    }),
  })
  .openapi('DestinationTypes')
