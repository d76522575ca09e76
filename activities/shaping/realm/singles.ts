// Where a list became a single value. JSONata makes a value of a list of one that a path finds, so that the same expression
// gives a list for some payloads and a value for others. It tells of each value that it evaluated, before it does so.

interface Node {
  type?: string
  value?: unknown
  [key: string]: unknown
}

/** What the library calls after each value. */
type Told = (node: object, input: unknown, environment: unknown, result: unknown) => void

/** Watches the paths whose values go into the result: all of the expression, and the fields of the objects that it makes. */
export function watchSingles(ast: unknown, nodes: readonly Node[]): { told: Told; found: Set<string> } {
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
  const told: Told = (node, _input, _environment, result) => {
    if (!Array.isArray(result)) return
    const path = pathOf.get(node)
    if (path) throughLists.add(path)
    const { sequence, keepSingleton, tupleStream } = result as {
      [flag in 'sequence' | 'keepSingleton' | 'tupleStream']?: boolean
    }
    const becomesOne = sequence === true && result.length === 1 && !keepSingleton && !tupleStream
    if (becomesOne && places.has(node) && throughLists.has(node)) found.add(textOf(node))
  }
  return { told, found }
}

/** The paths that a node's value may come from. */
function note(root: unknown, places: Set<object>): void {
  const open = [root]
  while (open.length > 0) {
    const node = open.pop() as Node | undefined
    if (typeof node !== 'object' || node === null) continue
    // `items[0]` asks for one.
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
