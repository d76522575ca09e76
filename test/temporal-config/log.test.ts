import { expect, it } from 'vitest'
import { createLogger } from '../../temporal-config/process/log.ts'
import { levelOf } from '../../temporal-config/worker/runtime.ts'

function logged(fields: object): { line: Record<string, unknown>; text: string } {
  let text = ''
  const logger = createLogger('info', 'test', {
    write(chunk: string) {
      text += chunk
    },
  })
  logger.info(fields, 'said')
  return { line: JSON.parse(text), text }
}

it('a line is JSON with level, time, name and message', () => {
  const { line } = logged({ request_id: 'r1' })
  expect(line).toMatchObject({ level: 'info', name: 'test', msg: 'said', request_id: 'r1' })
  expect(String(line.time)).toMatch(/^\d{4}-\d\d-\d\dT.*Z$/)
})

it.each([
  { authorization: 'hunter2' },
  { headers: { 'x-api-key': 'hunter2' } },
  { request: { headers: { Authorization: 'hunter2', cookie: 'hunter2' } } },
  { config: { auth: { password: 'hunter2', client_secret: 'hunter2' } } },
  { credentials: { token: 'hunter2' } },
  { payload: { name: 'hunter2' } },
])('a secret in %j does not get into the log', (fields) => {
  expect(logged(fields).text).not.toContain('hunter2')
})

it('an error keeps its code, message and causes, and loses the fields that a client library added', () => {
  const cause = Object.assign(new Error('connect to postgres://app:hunter2@db/x refused'), { code: 'ECONNREFUSED' })
  const error = Object.assign(new Error('Authorization: Bearer hunter2hunter2 was refused', { cause }), {
    config: { password: 'hunter2' },
  })
  const { line, text } = logged({ err: error })
  expect(text).not.toContain('hunter2')
  expect(line.err).toMatchObject({ type: 'Error', cause: { code: 'ECONNREFUSED' } })
})

it.each([
  ['warn', 'Activity failed', 'debug'],
  ['warn', 'No workflows registered, not polling for workflow tasks', 'debug'],
  ['info', 'Worker state changed', 'debug'],
  ['warn', 'Failing workflow task', 'warn'],
])('a line of the SDK: %s, "%s" is logged as %s', (level, message, shown) => {
  expect(levelOf(level, message)).toBe(shown)
})
