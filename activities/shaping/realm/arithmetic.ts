// Arithmetic with whole numbers that a double cannot hold. Such a number passes through an expression unchanged; a sum or a
// remainder of it would be another number than its sender means, and nothing in the result would show it.

interface Node {
  type?: string
  value?: unknown
  [key: string]: unknown
}

/** What the library calls after each value. */
type Told = (node: object, input: unknown, environment: unknown, result: unknown) => void

const OPERATORS = new Set(['+', '-', '*', '/', '%', '..'])
/** Built-in functions that compute with numbers, or write them in another form. Texts are looked at in the result. */
const FUNCTIONS = new Set([
  ...['sum', 'average', 'abs', 'floor', 'ceil', 'round', 'power', 'sqrt'],
  ...['formatNumber', 'formatInteger', 'formatBase', 'fromMillis'],
])

/**
 * @param nodes of the expression's syntax tree
 * @param changed the doubles that stand for whole numbers with other digits
 * @returns what the library is to call after each value; it throws where one of `changed` is computed with
 */
export function watchArithmetic(nodes: readonly Node[], changed: ReadonlySet<number>): Told {
  const operands = new Map<object, object[]>()
  for (const node of nodes) {
    const found = operandsOf(node).filter((operand) => typeof operand === 'object' && operand !== null) as object[]
    if (found.length > 0) operands.set(node, found)
  }
  const watched = new Set([...operands.values()].flat())
  /** Operands whose last value was, or held, one of `changed`. */
  const holding = new Set<object>()
  const isChanged = (value: unknown) =>
    Array.isArray(value) ? value.some((item) => changed.has(item)) : changed.has(value as number)
  return (node, _input, _environment, result) => {
    if (operands.get(node)?.some((operand) => holding.has(operand))) {
      throw { refused: 'computes with a whole number of more digits than an expression can hold' }
    }
    if (!watched.has(node)) return
    if (isChanged(result)) holding.add(node)
    else holding.delete(node)
  }
}

function operandsOf({ type, value, lhs, rhs, expression, procedure, arguments: given }: Node): unknown[] {
  if (type === 'binary') return OPERATORS.has(String(value)) ? [lhs, rhs] : []
  if (type === 'unary') return value === '-' ? [expression] : []
  if (type === 'function') return isNamed(procedure) && Array.isArray(given) ? given : []
  // `ids ~> $sum` and `ids ~> $sum()`.
  if (type === 'apply') return isNamed(rhs) || isNamed((rhs as Node | undefined)?.procedure) ? [lhs] : []
  return []
}

function isNamed(procedure: unknown): boolean {
  const { type, value } = (procedure ?? {}) as Node
  return type === 'variable' && FUNCTIONS.has(String(value))
}
