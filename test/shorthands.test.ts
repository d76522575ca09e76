// The shorthands and the receivers of the pages stop with a message where a reader makes a mistake.
import { execFile } from 'node:child_process'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, it } from 'vitest'

const root = fileURLToPath(new URL('../', import.meta.url))
let server: Server
let port: string

beforeAll(async () => {
  server = createServer((_, response) => response.writeHead(404).end('{"error":"NOT_FOUND"}'))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  port = String((server.address() as AddressInfo).port)
})
afterAll(() => server.close())

interface Outcome {
  code: number
  errors: string
}

function run(script: string, env: Record<string, string>): Promise<Outcome> {
  return new Promise((resolve) => {
    const options = { cwd: root, env: { PATH: process.env.PATH, ...env }, timeout: 30_000 }
    execFile('bash', ['--norc', '-c', script], options, (error, _, errors) =>
      resolve({ code: Number(error?.code ?? 0), errors }),
    )
  })
}

const shorthand = (script: string, env: Record<string, string> = {}) =>
  run(`. docs/examples/shorthands.sh; ${script}`, { API_KEY: 'key', ...env })

it('`ended` stops when the id is empty', async () => {
  const { code, errors } = await shorthand('ended $ID')
  expect([code, errors]).toEqual([1, 'ended: the id is empty: the submission before it failed\n'])
})

it('`ended` stops when the answer is an error, and shows it', async () => {
  const { code, errors } = await shorthand('ended dist_1', { API_PORT: port })
  expect([code, errors]).toEqual([1, '{"error":"NOT_FOUND"}\n'])
})

it('`ended` stops when nothing answers, and says how to set the port', async () => {
  const { code, errors } = await shorthand('ended dist_1', { API_PORT: '1' })
  expect(code).toBe(1)
  expect(errors).toContain('no answer from http://127.0.0.1:1: start the service, or set API_PORT to its port')
})

it('`api` says where it looks for the key', async () => {
  const { code, errors } = await shorthand('api /rules', { API_KEY: '', DATA_DIR: '/nowhere' })
  expect([code, errors]).toEqual([
    1,
    'api: there is no API key in /nowhere/bootstrap-api-key: run it in the project folder, or set DATA_DIR\n',
  ])
})

it.each([
  ['receiver.mjs', 'RECEIVER_PORT'],
  ['callback-receiver.mjs', 'CALLBACK_PORT'],
])('%s says in one line that its port is in use', async (program, name) => {
  const secret = { SECRET: `whsec_${Buffer.from('a secret of this test').toString('base64')}` }
  const { code, errors } = await run(`node docs/examples/${program}`, { [name]: port, ...secret })
  expect([code, errors]).toEqual([1, `cannot listen on port ${port} (EADDRINUSE): set ${name} to a free port\n`])
})

it('callback-receiver.mjs says that SECRET is missing', async () => {
  const { code, errors } = await run('node docs/examples/callback-receiver.mjs', {})
  expect([code, errors]).toEqual([
    1,
    'SECRET is missing: set it to the callback secret, SECRET=$(cat .data/callback-secret)\n',
  ])
})
