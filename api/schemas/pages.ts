// What lists take, and how they say where a page stands: after a cursor, or after a number of entries.
import { z } from '@hono/zod-openapi'
import { characters, wholeText } from './fields.ts'

const limit = wholeText(1, 1000)
  .optional()
  .openapi({ description: 'Maximum number of entries of the page. Default 50' })

export const cursorQuery = {
  limit,
  cursor: characters(1, 200).optional().openapi({ description: '`next_cursor` of the previous page' }),
}
export const offsetQuery = {
  limit,
  offset: wholeText(0, 100_000_000).optional().openapi({ description: 'Number of entries to skip' }),
}

const pagination = { limit: z.int(), has_more: z.boolean() }
export const cursorPagination = z.object({
  ...pagination,
  next_cursor: z.string().nullable().openapi({ description: 'The `cursor` of the next page; null on the last page' }),
})
export const offsetPagination = z.object({ ...pagination, offset: z.int(), total: z.int() })
