// Field types that several requests share.
import { z } from '@hono/zod-openapi'

/** A string of `min` to `max` characters (code points, as PostgreSQL counts them). */
export function characters(min: number, max: number) {
  return z
    .string()
    .refine((text) => text.length >= min && [...text.slice(0, 2 * max + 1)].length <= max, {
      message: min === 0 ? `must have at most ${max} characters` : `must have ${min} to ${max} characters`,
    })
    .openapi({ minLength: min, maxLength: max })
}

/** Name of a destination or of a credential. */
export const NAME = /^[a-zA-Z0-9_-]{1,100}$/
export const nameField = z.string().regex(NAME, 'must be 1 to 100 letters, digits, _ or -')

export const TENANT_ID = /^[a-zA-Z0-9][a-zA-Z0-9_-]{0,49}$/

/** An instant with a zone: `2026-01-15T09:30:00Z`, or with an offset. */
export const instant = z.iso.datetime({
  offset: true,
  message: 'must be an ISO 8601 time with a zone, such as 2026-01-15T09:30:00Z',
})

export function whole(min: number, max: number) {
  return z
    .int({
      error: ({ input }) => (input === undefined ? 'is required' : `must be a whole number from ${min} to ${max}`),
    })
    .min(min, `must be at least ${min}`)
    .max(max, `must be at most ${max}`)
}

/** A number in a query string. */
export function wholeText(min: number, max: number) {
  return z
    .string()
    .regex(/^\d{1,9}$/, `must be a whole number from ${min} to ${max}`)
    .transform(Number)
    .pipe(z.number().min(min, `must be at least ${min}`).max(max, `must be at most ${max}`))
    .openapi({ type: 'integer', minimum: min, maximum: max })
}

/** `from_date` and `to_date`: an instant, or a day, which means the whole of it in UTC. */
export const dayOrInstant = z.union([z.iso.date(), instant], {
  error: 'must be a day such as 2026-01-15, or an ISO 8601 time with a zone',
})

export const tenantField = z
  .string()
  .optional()
  .openapi({ description: "Must be the caller's own tenant when present", example: 'demo' })
