// The parts of a shape that take long to check: the expression and the schema. The check runs in the shaping process.
import { expressionProblem } from './expression.ts'
import { jsonSchemaProblems, type Problem } from './json-schema.ts'

/** The parts of a shape that its schema (config.ts) does not check. */
export interface Costly {
  expression?: string
  output_schema?: boolean | Record<string, unknown>
}

/** These parts of a value that may be a shape; undefined when it has none. */
export function costlyParts(shape: unknown): Costly | undefined {
  if (typeof shape !== 'object' || shape === null) return undefined
  const { expression, output_schema } = shape as Record<string, unknown>
  const parts: Costly = {
    ...(typeof expression === 'string' && { expression }),
    ...((typeof output_schema === 'boolean' || isRecord(output_schema)) && { output_schema }),
  }
  return Object.keys(parts).length > 0 ? parts : undefined
}

export function costlyProblems({ expression, output_schema }: Costly): Problem[] {
  const problem = expression === undefined ? undefined : expressionProblem(expression)
  const unfit = output_schema === undefined ? [] : jsonSchemaProblems(output_schema)
  return [
    ...(problem === undefined ? [] : [{ path: ['expression'], issue: problem }]),
    ...unfit.map(({ path, issue }) => ({ path: ['output_schema', ...path], issue })),
  ]
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
