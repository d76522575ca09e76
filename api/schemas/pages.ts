// What every list takes, and how it says where its page stands.
import { z } from '@hono/zod-openapi'
import { characters, wholeText } from './fields.ts'

/** Of a list whose pages follow each other by a cursor. */
export const cursorQuery = {
  limit: wholeText(1, 1000).optional(),
  cursor: characters(1, 200).optional(),
}

/** Of a list of which a page may be asked for by its place. */
export const offsetQuery = {
  limit: wholeText(1, 1000).optional(),
  offset: wholeText(0, 100_000_000).optional(),
}

export const cursorPagination = z.object({
  limit: z.int(),
  has_more: z.boolean(),
  next_cursor: z.string().nullable(),
})
export const offsetPagination = z.object({ limit: z.int(), offset: z.int(), total: z.int(), has_more: z.boolean() })
