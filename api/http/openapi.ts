// The OpenAPI description of an endpoint: its request, its responses, and the errors that every request may get.
import type { OpenAPIHono } from '@hono/zod-openapi'
import type { z } from 'zod'
import { errorExample, errorSchema } from '../schemas/error.ts'
import { MEDIA_TYPES } from './body.ts'
import type { ApiEnv } from './context.ts'
import type { Answers, Endpoint } from './endpoint.ts'

const REFUSALS: Record<number, string> = {
  400: 'The request is invalid; `details` lists every field with a problem',
  401: 'The API key is missing or unknown',
  403: 'The role of the key is not sufficient, or the tenant is not active',
  408: 'The body was sent too slowly',
  413: 'The body is too large',
  429: 'Too many requests of this tenant or key, or too many bytes in requests at the same time; `Retry-After` says when to try again',
  500: 'Internal error; the log has the cause under the `request_id`',
  503: 'Temporarily unavailable; try again',
}

/** Adds the endpoint to the app's document. */
export function describe(app: OpenAPIHono<ApiEnv>, prefix: string, one: Endpoint): void {
  const shown = one.body_documentation ?? one.body
  app.openAPIRegistry.registerPath({
    method: one.method,
    path: `${prefix}${one.path}`,
    operationId: one.operation,
    tags: [one.tag],
    summary: one.summary,
    description: [one.description, one.role === null ? 'Needs no key.' : `Needs role \`${one.role}\` or above.`]
      .filter((line) => line !== undefined)
      .join('\n\n'),
    security: one.role === null ? [] : [{ api_key: [] }],
    request: {
      ...(one.params && { params: one.params }),
      ...(one.query && { query: one.query }),
      ...(one.headers && { headers: one.headers }),
      ...(shown && {
        body: {
          required: !one.body_optional,
          content: Object.fromEntries(MEDIA_TYPES.map((type) => [type, content(shown, one.body_example)])),
        },
      }),
    },
    responses: { ...refusals(prefix, one), ...answered(one.answers) } as never,
  })
}

function refusals(prefix: string, { role, body }: Endpoint): Record<number, object> {
  const limited = prefix !== '' && role !== null
  const possible = [
    400,
    ...(role === null ? [] : [401, 403]),
    ...(body ? [408, 413] : []),
    ...(limited ? [429] : []),
    500,
    503,
  ]
  return Object.fromEntries(possible.map((status) => [status, refusal(status, REFUSALS[status]!)]))
}

function answered(answers: Answers): Record<string, object> {
  const shown = Object.entries(answers).map(([status, { description, schema, example, media_type }]) => {
    if (schema === undefined && Number(status) >= 400) return [status, refusal(Number(status), description)]
    const type = media_type ?? 'application/json'
    return [status, { description, ...(schema && { content: { [type]: content(schema, example) } }) }]
  })
  return Object.fromEntries(shown)
}

function refusal(status: number, description: string): object {
  return { description, content: { 'application/json': content(errorSchema, errorExample(status, description)) } }
}

function content(schema: z.ZodType, example: unknown) {
  return { schema, ...(example === undefined ? {} : { example }) }
}
