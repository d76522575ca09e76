// The path of a column's value in a row: `customer.id`, `items[0].sku`, `["odd.key"].x`; `$` is the whole row.
import { createPathParser, type Step } from '../../document/paths.ts'
import { childAt, type Tree } from '../../document/tree.ts'

const parse = createPathParser({ notInKey: '.[\\]"', quoted: true })

/** @returns undefined when the text is not a path */
export function parsePath(text: string): Step[] | undefined {
  if (text === '$') return []
  const steps = parse(text, /^\$[.[]/.test(text) ? 1 : 0)
  return Array.isArray(steps) && steps.length > 0 ? steps : undefined
}

/** The value at the path; undefined when there is none. Follows only own keys. */
export function valueAt(value: unknown, path: readonly Step[]): unknown {
  return path.reduce(childAt, value as Tree<unknown>)
}
