// The query and the pagination of every list.
import { z } from '@hono/zod-openapi'
import { characters, wholeText } from './fields.ts'

export const cursorQuery = {
  limit: wholeText(1, 1000).optional().openapi({ description: 'Maximum number of entries of the page. Default 50' }),
  cursor: characters(1, 500).optional().openapi({ description: '`next_cursor` of the previous page' }),
}

/** For lists that also accept an offset. */
export const offsetQuery = {
  ...cursorQuery,
  offset: wholeText(0, 100_000_000)
    .optional()
    .openapi({ description: 'Number of entries to skip. A cursor is faster, and cannot be combined with it' }),
}

export const cursorPagination = z.object({
  limit: z.int(),
  has_more: z.boolean(),
  next_cursor: z.string().nullable().openapi({ description: 'The `cursor` of the next page; null on the last page' }),
})
export const offsetPagination = cursorPagination.extend({ offset: z.int(), total: z.int() })
