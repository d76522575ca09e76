// Detects arithmetic with whole numbers that a double cannot hold. An expression can copy such a number unchanged, but a sum or
// a remainder of it would be wrong, and the result would not show it.

interface Node {
  type?: string
  value?: unknown
  [key: string]: unknown
}

/** The library calls this function after each value. */
type AfterValue = (node: object, input: unknown, environment: unknown, result: unknown) => void

const OPERATORS = new Set(['+', '-', '*', '/', '%', '..'])
/** Built-in functions that compute with numbers or format them. Texts are checked in the result instead (expression.ts). */
const FUNCTIONS = new Set([
  ...['sum', 'average', 'abs', 'floor', 'ceil', 'round', 'power', 'sqrt'],
  ...['formatNumber', 'formatInteger', 'formatBase', 'fromMillis'],
])

/**
 * @param nodes of the expression's syntax tree
 * @param changed the doubles whose original whole numbers have other digits
 * @returns a function that throws if the expression computes with one of `changed`
 */
export function watchArithmetic(nodes: readonly Node[], changed: ReadonlySet<number>): AfterValue {
  const operands = new Map<object, object[]>()
  for (const node of nodes) {
    const found = operandsOf(node).filter((operand) => typeof operand === 'object' && operand !== null) as object[]
    if (found.length > 0) operands.set(node, found)
  }
  const watched = new Set([...operands.values()].flat())
  /** Operands whose last value was one of `changed`, or a list with one of them. */
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
