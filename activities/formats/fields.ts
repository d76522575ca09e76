// The configuration fields of CSV and XML, the same for mail attachments and for shapes.
import { z } from 'zod'

export const csvFields = {
  columns: z
    .array(z.string().min(1).max(200))
    .min(1)
    .max(500)
    .optional()
    .describe('Keys of the rows, in this order; by default all keys'),
  delimiter: z.enum(['comma', 'semicolon', 'tab']).default('comma').describe('Separator of the fields'),
  formulas: z
    .enum(['escape', 'keep'])
    .default('escape')
    .describe(
      "`escape` puts a ' before text that a spreadsheet would run as a formula, also after a comma, semicolon, tab or line end inside a field; never before numbers",
    ),
  bom: z
    .boolean()
    .default(false)
    .describe('Starts the file with a byte order mark, by which spreadsheets recognise UTF-8'),
}

export const xmlFields = {
  root: z
    .string()
    .max(100)
    .regex(/^(?!xml)[A-Za-z_][A-Za-z0-9._-]*$/i, 'is not a name for an XML element')
    .default('payload')
    .describe('Name of the outermost element'),
}
