// Rate limits of destinations and tenants.
import { z } from '@hono/zod-openapi'
import { whole } from './fields.ts'

export const rateLimit = z
  .strictObject({
    requests: whole(1, 1_000_000),
    per_seconds: whole(1, 86_400),
    burst: whole(0, 1_000_000).default(0).openapi({ description: 'Additional attempts that may be made at once' }),
  })
  .openapi('RateLimit', {
    description:
      'Attempts are spread evenly. In any period of `per_seconds` the receiver gets at most `requests` + `burst`',
    example: { requests: 100, per_seconds: 60, burst: 10 },
  })
