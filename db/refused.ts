// Errors that say something about the data of one statement, and so come back however often it is repeated.

/**
 * SQLSTATE classes of a row that PostgreSQL does not take: data (22), constraints (23), check options (44), limits of the
 * program (54), more than one row (21), and what our own functions raise (P0). A lost connection, a deadlock, a timeout or
 * a full disk is none of these.
 */
const REFUSED = /^(21|22|23|44|54|P0)/

/** Whether the database refused the data itself. Repeating the statement would change nothing. */
export function isDataRefused(error: unknown): boolean {
  const code = (error as { code?: unknown } | null)?.code
  return typeof code === 'string' && code.length === 5 && REFUSED.test(code)
}

/** The same, or our own code could not read what the row holds. */
export function isRowAtFault(error: unknown): boolean {
  return (
    isDataRefused(error) || error instanceof TypeError || error instanceof RangeError || error instanceof SyntaxError
  )
}

/** For people: the SQLSTATE alone, since a message may quote what the row holds. */
export function refusalText(error: unknown): string {
  const code = (error as { code?: unknown } | null)?.code
  return isDataRefused(error) ? `the database refuses its data (SQLSTATE ${code})` : 'its data cannot be read'
}
