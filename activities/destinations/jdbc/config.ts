// The configuration of a JDBC destination: its validation, type, masking and published JSON schema.
import { z } from 'zod'
import { template, timeoutSeconds, tls } from '../fields.ts'
import { hostName } from '../secrets/allowed-hosts.ts'
import { configuration, credentialField, type Resolved, reaching, secret } from '../secrets/secret.ts'
import { parseTableName } from './identifiers.ts'
import { UrlError } from './parameters.ts'
import { parsePath } from './paths.ts'
import { jdbcHost, parseJdbcUrl } from './url.ts'

export const WRITE_MODES = ['insert', 'upsert', 'ignore'] as const
export const ISOLATION_LEVELS = ['read_uncommitted', 'read_committed', 'repeatable_read', 'serializable'] as const

const url = reaching(
  z
    .string()
    .max(2048)
    .superRefine((value, context) => {
      try {
        parseJdbcUrl(value)
      } catch (error) {
        if (!(error instanceof UrlError)) throw error
        context.addIssue({ code: 'custom', message: error.message })
      }
    }),
  jdbcHost,
  placeOf,
)

/** The server and its TLS settings. A change of the database or of other parameters is not a change of the server. */
function placeOf(value: string): unknown {
  try {
    const { kind, host, port, parameters } = parseJdbcUrl(value)
    const plainKey = 'allow_public_key_retrieval' in parameters && parameters.allow_public_key_retrieval
    return [kind, hostName(host), port, parameters.tls, plainKey]
  } catch (error) {
    if (!(error instanceof UrlError)) throw error
    return value
  }
}

function tableName() {
  return z
    .string()
    .max(300)
    .refine(
      (value) => !value.includes('\0') && parseTableName(value) !== undefined,
      'must be "table" or "schema.table"; a part with a dot or a quotation mark must be quoted',
    )
}

/** The servers' own limits are lower and counted in bytes; the servers report when a name exceeds them. */
const columnName = z
  .string()
  .min(1)
  .max(128)
  .refine((value) => !value.includes('\0'), 'has a NUL character')

const path = z
  .string()
  .max(1000)
  .refine((value) => parsePath(value) !== undefined, 'must be a path such as customer.id, items[0].sku or ["odd.key"]')

const column = z.union([
  path,
  z.strictObject({
    path: path.describe('Path of the value in the row; `$` is the whole row'),
    required: z.boolean().default(false).describe('Refuse a row without a value at the path, or with null'),
    decode: z.enum(['base64']).optional().describe('The value is a text that encodes bytes'),
  }),
  z.strictObject({ value: template(8192).describe('The same text for every row; may hold placeholders') }),
])

export const jdbcConfig = configuration({
  url: url.describe(
    '`jdbc:postgresql://`, `jdbc:mysql://` or `jdbc:mariadb://` with one host and the parameters of the driver. TLS with a verified certificate, unless it says `sslmode=disable` (`sslMode=DISABLED`)',
  ),
  username: credentialField().describe('User name'),
  password: secret().describe('Password'),
  tls: tls(),
  table: tableName().describe('`table` or `schema.table`, spelled exactly as in the database'),
  rows_path: path
    .optional()
    .describe(
      'Path of the rows in the payload: an object is one row, an array of objects is many rows. By default the whole payload',
    ),
  columns: z
    .record(columnName, column)
    .refine((value) => Object.keys(value).length > 0, 'must have a column; omit it to use the keys of each row')
    .optional()
    .describe(
      'Column → path in the row, such as {"sku": "items[0].sku"}, or {"value": "{distribution_id}"}; by default the keys of a row are the columns. A column that the row does not have gets its default',
    ),
  mode: z
    .enum(WRITE_MODES)
    .default('insert')
    .describe('If a row with the same key exists, `upsert` overwrites it and `ignore` keeps it'),
  key_columns: z
    .array(columnName)
    .min(1)
    .max(32)
    .optional()
    .describe(
      'Columns of the unique key for `upsert` and `ignore`; MySQL and MariaDB use every unique key of the table',
    ),
  batch_size: z.int().min(1).max(10_000).default(500).describe('Most rows in one statement; fewer if they are large'),
  isolation_level: z
    .enum(ISOLATION_LEVELS)
    .default('read_committed')
    .describe('Isolation level of the one transaction that writes all rows of a delivery'),
  delivery_id_column: columnName
    .optional()
    .describe(
      'Column for the delivery id, by which a repeat is recognised; used instead of the ledger, with mode `insert`. An index on it avoids a scan of the whole table',
    ),
  ledger_table: tableName()
    .optional()
    .describe(
      'Table of the delivery ids, created if it is missing; by default `distributor_deliveries` in the schema of the table. Rows of deliveries that will not be retried may be deleted',
    ),
  timeout_seconds: timeoutSeconds(),
}).superRefine(({ mode, key_columns, columns, delivery_id_column, ledger_table }, context) => {
  const issue = (field: string, message: string) => context.addIssue({ code: 'custom', path: [field], message })
  if (mode === 'upsert' && !key_columns) issue('key_columns', 'is required for mode upsert')
  if (mode === 'insert' && key_columns) issue('key_columns', 'cannot be used with mode insert')
  for (const name of key_columns ?? []) {
    if (columns && !Object.hasOwn(columns, name)) issue('key_columns', `names "${name}", which "columns" does not fill`)
  }
  if (delivery_id_column === undefined) return
  if (mode !== 'insert') {
    issue('delivery_id_column', 'requires mode insert, because in other modes a later delivery may overwrite the row')
  }
  if (ledger_table !== undefined) issue('ledger_table', 'cannot be used with "delivery_id_column"')
  if (columns && Object.hasOwn(columns, delivery_id_column)) {
    issue('delivery_id_column', 'is already filled by "columns"')
  }
})

export type JdbcConfig = Resolved<z.output<typeof jdbcConfig>>
export type WriteMode = JdbcConfig['mode']
export type IsolationLevel = JdbcConfig['isolation_level']
export type ColumnSource = z.output<typeof column>
