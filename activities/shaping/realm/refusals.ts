// Finds forbidden parts of an expression in its syntax tree, before it is evaluated, so that errors are early and clear. An
// attempt that is not found here fails at the frozen functions, and its realm ends with the evaluation.

/** A repeat must be the same document, and text from a payload must never become code. */
export const REFUSED = ['random', 'shuffle', 'eval']
/** How JSONata marks functions: an expression that sets or deletes these marks reaches the library's own objects. */
const MARKS = /^_jsonata_/

interface Node {
  type?: string
  value?: unknown
  position?: number
  [key: string]: unknown
}

/** Why the expression is rejected; undefined if it is allowed. */
export function refusal(ast: unknown, builtIns: ReadonlySet<string>): string | undefined {
  const nodes = nodesOf(ast)
  for (const { type, value, position = 0 } of nodes) {
    if (type === 'variable' && typeof value === 'string' && REFUSED.includes(value)) {
      const why = value === 'eval' ? 'text may not become code' : 'a repeat must be the same document'
      return `uses $${value} at position ${position}: ${why}`
    }
    if ((type === 'string' || type === 'name') && typeof value === 'string' && MARKS.test(value)) {
      return `names ${value} at position ${position}: functions cannot be changed`
    }
  }
  const functions = functionNames(nodes, builtIns)
  for (const { type, pattern, position = 0 } of nodes) {
    if (type === 'transform' && mayBeFunction(pattern, functions)) {
      return `updates or deletes parts of a function at position ${position}: functions cannot be changed`
    }
  }
  return undefined
}

/** Whether an expression can change objects: only the update operator does. */
export function updates(ast: unknown): boolean {
  return nodesOf(ast).some(({ type }) => type === 'transform')
}

/** All nodes of a tree, without recursion, because it may nest deeply. */
export function nodesOf(ast: unknown): Node[] {
  const found: Node[] = []
  const seen = new Set<unknown>()
  const open: unknown[] = [ast]
  while (open.length > 0) {
    const node = open.pop()
    if (typeof node !== 'object' || node === null || seen.has(node)) continue
    seen.add(node)
    if (!Array.isArray(node)) found.push(node as Node)
    for (const child of Object.values(node)) open.push(child)
  }
  return found
}

/** The variables that may hold a function: the built-in functions, and variables that are bound to a function. */
function functionNames(nodes: readonly Node[], builtIns: ReadonlySet<string>): ReadonlySet<string> {
  const names = new Set(builtIns)
  const binds = nodes.filter(({ type }) => type === 'bind')
  for (let before = -1; before !== names.size; ) {
    before = names.size
    for (const { lhs, rhs } of binds) {
      const name = (lhs as Node | undefined)?.value
      if (typeof name === 'string' && mayBeFunction(rhs, names)) names.add(name)
    }
  }
  return names
}

/** Whether a node's value may be a function or a part of one. Results of calls are not examined. */
function mayBeFunction(root: unknown, functions: ReadonlySet<string>): boolean {
  const open: unknown[] = [root]
  const seen = new Set<unknown>()
  while (open.length > 0) {
    const node = open.pop()
    if (typeof node !== 'object' || node === null || seen.has(node)) continue
    seen.add(node)
    if (Array.isArray(node)) {
      for (const child of node) open.push(child)
      continue
    }
    const { type, value, steps, expressions, lhs, rhs } = node as Node
    const { expression, then, else: otherwise } = node as Node
    switch (type) {
      case 'variable':
        if (typeof value === 'string' && functions.has(value)) return true
        break
      case 'lambda':
      case 'regex':
      case 'partial':
      case 'transform':
        return true
      case 'path':
        open.push((steps as unknown[] | undefined)?.[0])
        break
      case 'block':
        open.push((expressions as unknown[] | undefined)?.at(-1))
        break
      case 'condition':
        open.push(then, otherwise)
        break
      case 'bind':
        open.push(rhs)
        break
      case 'apply':
        // `f ~> g` is a function if f is one.
        open.push(lhs)
        break
      case 'unary':
        open.push(expressions, expression, lhs)
        break
    }
  }
  return false
}
