// Where in a row a column's value is: `customer.id`, `items[0].sku`, `["odd.key"].x`; `$` is the whole row.

export type Segment = string | number

const SEGMENT = /(?:^|\.)([^.[\]"]+)|\[(\d{1,9})\]|\[("(?:[^"\\]|\\.)*")\]/y

/** @returns undefined for what is no path */
export function parsePath(text: string): Segment[] | undefined {
  if (text === '$') return []
  const segments: Segment[] = []
  SEGMENT.lastIndex = text.startsWith('$') && /^\$[.[]/.test(text) ? 1 : 0
  while (SEGMENT.lastIndex < text.length) {
    const match = SEGMENT.exec(text)
    if (!match) return undefined
    if (match[3] !== undefined) {
      const key = unquote(match[3])
      if (key === undefined) return undefined
      segments.push(key)
    } else segments.push(match[2] === undefined ? match[1]! : Number(match[2]))
  }
  return segments.length > 0 ? segments : undefined
}

/** What is there; undefined where nothing is. Only own keys are followed. */
export function valueAt(value: unknown, path: readonly Segment[]): unknown {
  let found = value
  for (const segment of path) {
    if (typeof found !== 'object' || found === null) return undefined
    if (Array.isArray(found) !== (typeof segment === 'number')) return undefined
    if (!Object.hasOwn(found, segment)) return undefined
    found = (found as Record<Segment, unknown>)[segment]
  }
  return found
}

function unquote(text: string): string | undefined {
  try {
    return JSON.parse(text) as string
  } catch {
    return undefined
  }
}
