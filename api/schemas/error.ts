// The schema of every error response.
import { z } from '@hono/zod-openapi'
import { ERROR_STATUS, type ErrorCode } from '../http/errors.ts'

const EXAMPLE = {
  error: 'VALIDATION_ERROR',
  message: 'destinations[0].endpoint: must be an http or https URL',
  details: [{ field: 'destinations[0].endpoint', issue: 'must be an http or https URL' }],
  request_id: '0b3d4cf1-2f7c-4a57-9d7c-2d1f6e0f4a11',
  timestamp: '2026-01-15T09:30:00.000Z',
}

/** An example of an error with this status. */
export function errorExample(status: number, message: string) {
  const error = Object.entries(ERROR_STATUS).find(([, known]) => known === status)?.[0]
  if (status === 400 || error === undefined) return EXAMPLE
  return { ...EXAMPLE, error, message, details: [], ...(status === 429 ? { retry_after_seconds: 1 } : {}) }
}

export const errorSchema = z
  .object({
    error: z.enum(Object.keys(ERROR_STATUS) as [ErrorCode, ...ErrorCode[]]),
    message: z.string(),
    details: z.array(z.object({ field: z.string(), issue: z.string() })),
    retry_after_seconds: z
      .int()
      .optional()
      .openapi({ description: 'Seconds to wait, if known; same as the header `Retry-After`' }),
    request_id: z.string(),
    timestamp: z.iso.datetime(),
  })
  .openapi('Error', {
    example: EXAMPLE,
  })
