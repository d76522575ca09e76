// The configuration of a JDBC destination: at once its validation, its type, its masking and its served JSON schema.
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

/** The server, and how the connection to it is protected. The database and the rest of the parameters may change. */
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
      'must be "table" or "schema.table"; a part that has a dot or a quotation mark stands in quotation marks',
    )
}

/** The servers' own bounds are lower and stated in bytes; they say so themselves. */
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
    path: path.describe('Where in the row; `$` is the whole row'),
    required: z.boolean().default(false).describe('Refuse a row that has nothing there, or null'),
    decode: z.enum(['base64']).optional().describe('The text there stands for bytes'),
  }),
  z.strictObject({ value: template(8192).describe('The same text for every row; may hold placeholders') }),
])

export const jdbcConfig = configuration({
  url: url.describe(
    'jdbc:postgresql://, jdbc:mysql:// or jdbc:mariadb://, one host, with the parameters of their drivers; TLS with a verified certificate unless it says sslmode=disable (sslMode=DISABLED)',
  ),
  username: credentialField().describe('User name'),
  password: secret().describe('Password'),
  tls: tls(),
  table: tableName().describe('"table" or "schema.table", exactly as it is spelled in the database'),
  rows_path: path
    .optional()
    .describe('Where in the payload the rows are: an object is one row, an array of objects is many; else the payload'),
  columns: z
    .record(columnName, column)
    .refine((value) => Object.keys(value).length > 0, 'must name a column; leave it out to take the keys of each row')
    .optional()
    .describe(
      'Column to path in the row, such as {"sku": "items[0].sku"}, or {"value": "{distribution_id}"}; without it the keys of a row are the columns. What a row does not have is left to the column\'s default',
    ),
  mode: z
    .enum(WRITE_MODES)
    .default('insert')
    .describe('upsert overwrites and ignore leaves alone the row that has the same key already'),
  key_columns: z
    .array(columnName)
    .min(1)
    .max(32)
    .optional()
    .describe('Of the unique key that upsert and ignore go by; MySQL and MariaDB go by every unique key of the table'),
  batch_size: z
    .int()
    .min(1)
    .max(10_000)
    .default(500)
    .describe('Rows in one statement, at most; fewer where they are large'),
  isolation_level: z
    .enum(ISOLATION_LEVELS)
    .default('read_committed')
    .describe('Of the one transaction that holds all rows of a delivery'),
  delivery_id_column: columnName
    .optional()
    .describe(
      'Column that holds the delivery id, which tells a repeat, used instead of the ledger, with mode insert; an index on it spares a search of the whole table',
    ),
  ledger_table: tableName()
    .optional()
    .describe(
      'Table that holds the ids of what was delivered, made when it is missing: distributor_deliveries in the schema of the table. Rows whose deliveries nobody will retry may be deleted',
    ),
  timeout_seconds: timeoutSeconds(),
}).superRefine(({ mode, key_columns, columns, delivery_id_column, ledger_table }, context) => {
  const issue = (field: string, message: string) => context.addIssue({ code: 'custom', path: [field], message })
  if (mode === 'upsert' && !key_columns) issue('key_columns', 'is required for mode upsert')
  if (mode === 'insert' && key_columns) issue('key_columns', 'has no meaning for mode insert')
  for (const name of key_columns ?? []) {
    if (columns && !Object.hasOwn(columns, name)) issue('key_columns', `names "${name}", which "columns" does not fill`)
  }
  if (delivery_id_column === undefined) return
  if (mode !== 'insert') {
    issue('delivery_id_column', 'needs mode insert, for a later delivery may take over the row; leave it out')
  }
  if (ledger_table !== undefined) issue('ledger_table', 'has no meaning beside "delivery_id_column"')
  if (columns && Object.hasOwn(columns, delivery_id_column)) {
    issue('delivery_id_column', 'is filled by "columns" already')
  }
})

export type JdbcConfig = Resolved<z.output<typeof jdbcConfig>>
export type WriteMode = JdbcConfig['mode']
export type IsolationLevel = JdbcConfig['isolation_level']
export type ColumnSource = z.output<typeof column>
