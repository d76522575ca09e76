// JDBC: the rows of a payload, in one transaction, exactly once per delivery id. PostgreSQL, MySQL and MariaDB.

import { defineDestination } from '../destination.ts'
import { deadlineMs, probeMs } from '../fields.ts'
import { keepConnections } from '../network/connections.ts'
import { withinDeadline } from '../network/deadline.ts'
import { targetOf } from '../network/target.ts'
import { jdbcConfig } from './config.ts'
import type { Database } from './database.ts'
import { openDatabase } from './kinds.ts'
import { writeOnce } from './once.ts'
import { rowsOf } from './rows.ts'
import { parseJdbcUrl } from './url.ts'

/** The database should end a session that is silent for longer than this. */
const IDLE_MS = 30_000

const connections = keepConnections<Database>({
  idleMs: IDLE_MS,
  check: (database) => database.check(),
  destroy: (database) => database.destroy(),
  close: (database) => database.close(),
})

export const jdbc = defineDestination({
  protocol: 'JDBC',
  config: jdbcConfig,
  example: {
    url: 'jdbc:postgresql://warehouse.example/reports?currentSchema=public',
    table: 'report_rows',
    rows_path: 'rows',
    columns: { report_id: { value: '{payload.report_id}' }, service: 'service', fees: 'fees' },
    credentials: 'warehouse',
  },
  documentation: {
    delivered: 'the transaction was committed',
    repeat: 'not needed: a repeat changes nothing. The delivery id is in a ledger table, or in `delivery_id_column`',
    again: 'deadlock, serialization failure, too many connections, timeout, network',
    final: 'constraint, missing table or column, a value that does not fit',
  },
  gzip: false,
  target({ url }) {
    const { host, port } = parseJdbcUrl(url)
    return targetOf(host, port)
  },
  deadlineMs,
  needsJson: () => 'rows are made from JSON',

  async deliver(config, message, signal, { egress }) {
    signal.throwIfAborted()
    const rows = await rowsOf(config, message)
    return withinDeadline({ timeoutMs: config.timeout_seconds * 1000, signal }, async (attempt) => {
      const target = { egress, tenant_id: message.tenant_id, config }
      const outcome = await connections.use(
        target,
        attempt,
        () => openDatabase(config, attempt, egress),
        (database) => writeOnce(database, config, message, rows, attempt.expect),
      )
      return { status: null, body: null, metadata: { table: config.table, ...outcome } }
    })
  },

  /** Logs in and checks that the table exists. */
  async probe(config, signal, { egress }) {
    const timeoutMs = probeMs(config)
    await withinDeadline({ timeoutMs, signal }, async (attempt) => {
      const database = await openDatabase(config, attempt, egress)
      attempt.onStop(() => database.destroy())
      try {
        attempt.expect('describe the table')
        await database.describe()
      } finally {
        database.close()
      }
    })
  },
})
