// Field types that several requests and responses share.
import { z } from '@hono/zod-openapi'
import { JsonText } from '../http/exact-json.ts'

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

/** The protocol of a stored row. It may be one of a newer version, so the schema allows any. */
export const storedProtocol = z.string().openapi({ description: 'See `GET /destination-types`', example: 'REST' })

export const TENANT_ID = /^[a-zA-Z0-9][a-zA-Z0-9_-]{0,49}$/

const INSTANT_ISSUE = 'must be an ISO 8601 time with a zone, such as 2026-01-15T09:30:00Z'

/** Start of the years 1 and 10000, in milliseconds. */
const YEAR_1 = Date.parse('0001-01-01T00:00:00Z')
const YEAR_10000 = Date.parse('+010000-01-01T00:00:00Z')

/** Whether the time is in the years 1 to 9999 in UTC, which every part of the system can read and write. */
function isInstant(text: string): boolean {
  const at = Date.parse(text)
  // Texts that are not times are already rejected.
  return !(at < YEAR_1 || at >= YEAR_10000)
}

/**
 * A time with a zone: `2026-01-15T09:30:00Z`, or with an offset of up to 23:59. Use only the parsed time: not every reader
 * accepts every spelling.
 */
export const instant = z.iso
  .datetime({ offset: true, message: INSTANT_ISSUE, abort: true })
  .refine(isInstant, 'must be a time of the years 1 to 9999')

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

/** `from_date` and `to_date`: a time, or a date, which means the whole day in UTC. */
export const dayOrInstant = z.union([z.iso.date().refine(isInstant), instant], {
  error: 'must be a day such as 2026-01-15, or an ISO 8601 time with a zone',
})

export const tenantField = z
  .string()
  .optional()
  .openapi({ description: 'If present, must be the tenant of the API key', example: 'demo' })

/** A time in a response: a `Date` in a handler, ISO 8601 in UTC in JSON. */
export const time = z.codec(z.iso.datetime(), z.date(), {
  decode: (text) => new Date(text),
  encode: (date) => date.toISOString(),
})

/** A value in a response that the handler gives as JSON text, so that its numbers keep their digits. */
export function exact<T extends z.ZodType>(schema: T) {
  return z.codec(schema, z.instanceof(JsonText) as z.ZodType<JsonText, JsonText>, {
    decode: (value) => new JsonText(JSON.stringify(value)),
    encode: ({ text }) => JSON.parse(text),
  })
}
