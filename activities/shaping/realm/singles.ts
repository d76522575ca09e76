// Finds where a list became a single value. If a path finds a list of one, JSONata returns its only value, so the same
// expression returns a list for some payloads and a value for others. JSONata reports each list before it does that.

interface Node {
  type?: string
  value?: unknown
  [key: string]: unknown
}

/** The library calls this function after each value. */
type AfterValue = (node: object, input: unknown, environment: unknown, result: unknown) => void

/** Watches the paths whose values are part of the result: the expression itself, and the fields of objects that it creates. */
export function watchSingles(ast: unknown, nodes: readonly Node[]): { afterValue: AfterValue; found: Set<string> } {
  const places = new Set<object>()
  note(ast, places)
  for (const { lhs } of nodes) {
    if (!Array.isArray(lhs)) continue
    for (const pair of lhs) if (Array.isArray(pair)) note(pair[1], places)
  }
  const pathOf = new Map<object, object>()
  for (const path of places) for (const step of stepsOf(path)) pathOf.set(step, path)
  const throughLists = new Set<object>()
  const found = new Set<string>()
  const afterValue: AfterValue = (node, _input, _environment, result) => {
    if (!Array.isArray(result)) return
    const path = pathOf.get(node)
    if (path) throughLists.add(path)
    const { sequence, keepSingleton, tupleStream } = result as {
      [flag in 'sequence' | 'keepSingleton' | 'tupleStream']?: boolean
    }
    const becomesOne = sequence === true && result.length === 1 && !keepSingleton && !tupleStream
    if (becomesOne && places.has(node) && throughLists.has(node)) found.add(textOf(node))
  }
  return { afterValue, found }
}

/** The paths that a node's value may come from. */
function note(root: unknown, places: Set<object>): void {
  const open = [root]
  while (open.length > 0) {
    const node = open.pop() as Node | undefined
    if (typeof node !== 'object' || node === null) continue
    // `items[0]` requests a single value.
    if (node.type === 'path' && !stepsOf(node).some(picksOne)) places.add(node)
    else if (node.type === 'condition') open.push(node.then, node.else)
    else if (node.type === 'block') open.push((node.expressions as unknown[] | undefined)?.at(-1))
    else if (node.type === 'bind') open.push(node.rhs)
  }
}

function stepsOf(path: object): Node[] {
  const { steps } = path as { steps?: unknown }
  return Array.isArray(steps) ? (steps as Node[]) : []
}

function picksOne({ stages, predicate }: Node): boolean {
  const filters = [...(Array.isArray(stages) ? stages : []), ...(Array.isArray(predicate) ? predicate : [])] as Node[]
  return filters.some(({ expr }) => ['number', 'unary'].includes(String((expr as Node | undefined)?.type)))
}

function textOf(path: object): string {
  return stepsOf(path)
    .map(({ type, value }) =>
      type === 'name' || type === 'variable' ? `${type === 'variable' ? '$' : ''}${value}` : '…',
    )
    .join('.')
}
