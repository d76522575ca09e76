// What the demo prints: a line per change while it goes on, and a table of what arrived where.
import type { DeliveryState } from './client.ts'
import type { Receiver } from './receivers.ts'

/** Prints a delivery whenever it is not as it was the last time. `began` is on the clock of `performance.now()`. */
export function createProgress(began: number, print: (line: string) => void): (deliveries: DeliveryState[]) => void {
  const shown = new Map<string, string>()
  return (deliveries) => {
    for (const { name, status, attempts, response_status, error_code } of deliveries) {
      const why = status === 'success' ? response_status : error_code
      const line = `${name.padEnd(15)} ${status.padEnd(10)} attempt ${attempts}${why === null ? '' : `  ${why}`}`
      if (attempts === 0 || shown.get(name) === line) continue
      shown.set(name, line)
      print(`  ${((performance.now() - began) / 1000).toFixed(2).padStart(6)} s  ${line}`)
    }
  }
}

/** A row of the table, read back from the receiver itself. */
export function arrivalRow(name: string, status: string, receiver: Receiver, payload: Buffer): string[] {
  const accepted = receiver.arrivals.filter((arrival) => arrival.status === 200)
  const last = accepted.at(-1)
  return [
    name,
    status,
    receiver.url,
    receiver.arrivals.map((arrival) => arrival.status).join(' ') || 'none',
    last ? String(last.body.length) : '0',
    last ? (last.body.equals(payload) ? 'identical' : 'DIFFERENT') : 'nothing came',
    last?.signature ?? 'none',
  ]
}

/** Columns as wide as they need to be, the first row underlined. */
export function table(rows: string[][]): string {
  const widths = (rows[0] ?? []).map((_cell, column) => Math.max(...rows.map((row) => (row[column] ?? '').length)))
  const line = (row: string[]) =>
    `  ${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ')}`.trimEnd()
  const [head = [], ...body] = rows
  return [line(head), line(widths.map((width) => '─'.repeat(width))), ...body.map(line)].join('\n')
}
