// Compares real answers with the OpenAPI document: an answer that the document does not describe fails the test.
import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js'

type Json = Record<string, unknown>

export interface Answered {
  method: string
  path: string
  status: number
  body: unknown
}

/** @param openapi the document; answers of what it does not describe, such as the page at `/docs`, are not checked */
export function createAnswerCheck(openapi: Json): (answered: Answered) => void {
  const ajv = new Ajv2020({ strict: false, validateFormats: false, allErrors: true })
  const { schemas } = openapi.components as { schemas: Record<string, Json> }
  const parts = Object.fromEntries(Object.entries(schemas).map(([name, schema]) => [name, closed(schema, true)]))
  ajv.addSchema({ $id: 'openapi', components: { schemas: parts } })
  const operations = Object.entries(openapi.paths as Record<string, Record<string, { responses: Json }>>).flatMap(
    ([path, methods]) =>
      Object.entries(methods).map(([method, { responses }]) => {
        const form = new RegExp(`^${path.replace(/\{\w+\}/g, '[^/]+')}$`)
        return { method: method.toUpperCase(), path, form, responses }
      }),
  )
  const compiled = new Map<string, ValidateFunction>()

  return ({ method, path, status, body }) => {
    const [way = ''] = path.split('?')
    const candidates = operations.filter((one) => one.method === method && one.form.test(way))
    // A fixed word stands before a parameter.
    const operation = candidates.find((one) => one.path === way) ?? candidates[0]
    if (!operation) return
    const what = `${method} ${operation.path} ${status}`
    const response = operation.responses[status] as { content?: Record<string, { schema: Json }> } | undefined
    if (!response) throw new Error(`${what} is not in the OpenAPI document`)
    const schema = response.content?.['application/json']?.schema
    if (!schema || body === undefined) {
      if (schema || body !== undefined) throw new Error(`${what}: only one of answer and document has a JSON body`)
      return
    }
    const check = compiled.get(what) ?? ajv.compile(closed(withReferences(schema)) as Json)
    compiled.set(what, check)
    if (check(body)) return
    const issues = check.errors!.map(
      ({ instancePath, message, params }) => `${instancePath} ${message} ${JSON.stringify(params)}`,
    )
    throw new Error(`${what} is not as the OpenAPI document describes it:\n${issues.join('\n')}`)
  }
}

function withReferences(schema: unknown): unknown {
  return JSON.parse(JSON.stringify(schema).replaceAll('"#/components/', '"openapi#/components/'))
}

/** No object may have a field that its schema does not name. A part of an `allOf` does not know the other parts. */
function closed(schema: unknown, isPart = false): unknown {
  if (Array.isArray(schema)) return schema.map((one) => closed(one, isPart))
  if (typeof schema !== 'object' || schema === null) return schema
  const inner = Object.fromEntries(Object.entries(schema).map(([key, value]) => [key, closed(value, key === 'allOf')]))
  const isObject = ['properties', 'allOf', '$ref'].some((key) => key in inner) && !('additionalProperties' in inner)
  return isObject && !isPart ? { ...inner, unevaluatedProperties: false } : inner
}
