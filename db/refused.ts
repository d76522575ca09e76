// Errors that the data of a statement causes, so that every repeat fails in the same way.

/**
 * SQLSTATE classes of rows that PostgreSQL rejects: data (22), constraints (23), check options (44), limits of the
 * program (54), more than one row (21), and the errors that our own functions raise (P0). A lost connection, a deadlock,
 * a timeout or a full disk is not among them.
 */
const REFUSED = /^(21|22|23|44|54|P0)/

/** Whether the database refused the data itself, so that a repeat fails too. */
export function isDataRefused(error: unknown): boolean {
  const code = (error as { code?: unknown } | null)?.code
  return typeof code === 'string' && code.length === 5 && REFUSED.test(code)
}

/** The same, or our own code could not read the content of the row. */
export function isRowAtFault(error: unknown): boolean {
  return (
    isDataRefused(error) || error instanceof TypeError || error instanceof RangeError || error instanceof SyntaxError
  )
}

/** For people: only the SQLSTATE, because a message may quote the content of the row. */
export function refusalText(error: unknown): string {
  const code = (error as { code?: unknown } | null)?.code
  return isDataRefused(error) ? `the database refuses its data (SQLSTATE ${code})` : 'its data cannot be read'
}
