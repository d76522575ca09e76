// The arithmetic of the bench: percentiles, ratios of rounds, the table.

/** The smallest value that at least `share` of all values do not exceed (nearest rank). `share` is above 0, up to 1. */
export function percentile(values: readonly number[], share: number): number {
  if (values.length === 0) throw new RangeError('no values')
  const sorted = [...values].sort((one, other) => one - other)
  return sorted[Math.max(0, Math.ceil(share * sorted.length - 1e-9) - 1)]!
}

export interface Spread {
  min: number
  median: number
  max: number
}

/** Of an even number of values the median is the mean of the middle two. */
export function spread(values: readonly number[]): Spread {
  if (values.length === 0) throw new RangeError('no values')
  const sorted = [...values].sort((one, other) => one - other)
  const middle = sorted.length / 2
  const median = Number.isInteger(middle) ? (sorted[middle - 1]! + sorted[middle]!) / 2 : sorted[Math.floor(middle)]!
  return { min: sorted[0]!, median, max: sorted.at(-1)! }
}

/**
 * b/a round by round: what slows the whole machine for a while meets both halves of a round, and cancels out in its
 * ratio, but not in the ratio of two medians.
 */
export function ratios(a: readonly number[], b: readonly number[]): Spread {
  if (a.length !== b.length) throw new RangeError(`${a.length} rounds against ${b.length}`)
  return spread(b.map((value, round) => value / a[round]!))
}

/** One line of the comparison: the same measure of both sides, a value per round. */
export interface Comparison {
  load: string
  measure: string
  engine: readonly number[]
  product: readonly number[]
}

/** Lines of text, as wide as their numbers; medians stand between their extremes. */
export function comparisonTable(comparisons: readonly Comparison[]): string {
  const three = ({ min, median, max }: Spread) => [min, median, max].map(shown)
  const rows = comparisons.map(({ load, measure, engine, product }) => [
    load,
    measure,
    ...three(spread(engine)),
    ...three(spread(product)),
    ...three(ratios(engine, product)),
  ])
  const names = ['min', 'median', 'max']
  return aligned([
    ['', '', '', 'a: engine', '', '', 'b: product', '', '', 'b/a', ''],
    ['load', 'measure', ...names, ...names, ...names],
    ...rows,
  ])
}

/** Columns as wide as they need to be: the first two are text, the others numbers. */
function aligned(rows: readonly string[][]): string {
  const widths = rows[0]!.map((_cell, column) => Math.max(...rows.map((row) => row[column]!.length)))
  return rows
    .map((row) =>
      row
        .map((cell, column) => (column < 2 ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!)))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

/** Three digits are more than a measurement on a shared machine can promise. */
export function shown(value: number): string {
  if (value >= 100) return value.toFixed(0)
  return value >= 10 ? value.toFixed(1) : value.toFixed(2)
}
