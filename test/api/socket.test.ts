// What only shows over a real connection: bodies that are refused before they have arrived.
import { Agent, request as httpRequest, type IncomingMessage } from 'node:http'
import { afterAll, beforeAll, expect, it, vi } from 'vitest'
import { type Listening, listen } from '../../api/http/listen.ts'
import { type ApiUnderTest, aSubmission, startApi } from './api-under-test.ts'

const MAX_BODY = 100_000
let api: ApiUnderTest
let listening: Listening
beforeAll(async () => {
  api = await startApi({ max_body_bytes: MAX_BODY })
  listening = await listen(api.fetch, '127.0.0.1', 0)
})
afterAll(async () => {
  await listening.close()
  await api.close()
})

/** Sends chunks for as long as the server takes them; resolves with the answer's status. */
function send(headers: Record<string, string>, chunks: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const options = { method: 'POST', headers: { 'X-API-Key': api.keys.acme.operator, ...headers } }
    let answered = false
    const request = httpRequest(`${listening.url}/api/v1/distribution/submit`, options, (answer: IncomingMessage) => {
      answered = true
      answer.resume()
      answer.on('end', () => {
        request.destroy()
        resolve(answer.statusCode!)
      })
    })
    request.on('error', (error) => (answered ? undefined : reject(error)))
    const chunk = Buffer.alloc(10_000, ' ')
    let left = chunks
    const more = () => {
      if (answered) return
      if (left-- <= 0) request.end()
      else request.write(chunk, () => setImmediate(more))
    }
    more()
  })
}

it('an endless body without a length is answered 413', async () => {
  const headers = { 'Content-Type': 'application/json', 'Transfer-Encoding': 'chunked' }
  expect(await send(headers, Number.POSITIVE_INFINITY)).toBe(413)
})

it('a length that is too large is answered 413 before a byte of it is sent', async () => {
  const headers = { 'Content-Type': 'application/json', 'Content-Length': String(MAX_BODY + 1) }
  const options = { method: 'POST', headers: { 'X-API-Key': api.keys.acme.operator, ...headers } }
  const status = await new Promise((resolve, reject) => {
    const request = httpRequest(`${listening.url}/api/v1/distribution/submit`, options, (answer) => {
      resolve(answer.statusCode)
      request.destroy()
    })
    request.on('error', reject)
    request.flushHeaders()
  })
  expect(status).toBe(413)
})

it('a sender that disconnects within the body causes no 5xx', async () => {
  const headers = { 'Content-Type': 'application/json', 'Content-Length': '1000', 'X-Request-Id': 'hangs-up' }
  const options = { method: 'POST', headers: { 'X-API-Key': api.keys.acme.operator, ...headers } }
  const request = httpRequest(`${listening.url}/api/v1/distribution/submit`, options)
  request.on('error', () => {})
  request.write('{"data_type": "report", ')
  const logged = () => api.log.lines().find((line) => line.includes('hangs-up'))
  await vi.waitFor(() => expect(request.socket?.bytesWritten).toBeGreaterThan(0))
  // Long enough for the key to be looked up, so that the body is being read.
  await fetch(`${listening.url}/api/v1/distribution/list`, { headers: { 'X-API-Key': api.keys.acme.operator } })
  request.destroy()
  await vi.waitFor(() => expect(logged()).toBeDefined(), { timeout: 10_000 })
  expect(JSON.parse(logged()!)).toMatchObject({ level: 'info', status: 400, error: 'VALIDATION_ERROR' })
})

it('an ordinary submission goes through, and the server still answers', async () => {
  const answer = await fetch(`${listening.url}/api/v1/distribution/submit`, {
    method: 'POST',
    headers: { 'X-API-Key': api.keys.acme.operator, 'Content-Type': 'application/json' },
    body: JSON.stringify(aSubmission()),
  })
  expect(answer.status).toBe(202)
})

it('during the shutdown, an answer tells its sender to use a new connection', async () => {
  let arrived = () => {}
  let answer = () => {}
  const waiting = new Promise<void>((resolve) => {
    arrived = resolve
  })
  const gate = new Promise<void>((resolve) => {
    answer = resolve
  })
  const slow = async () => {
    arrived()
    await gate
    return new Response('done')
  }
  const own = await listen(slow, '127.0.0.1', 0)
  const agent = new Agent({ keepAlive: true })
  const connection = new Promise<string | undefined>((resolve, reject) => {
    const request = httpRequest(own.url, { agent }, (response) => {
      response.resume()
      response.on('end', () => resolve(response.headers.connection))
    })
    request.on('error', reject)
    request.end()
  })
  await waiting
  const closed = own.close()
  answer()
  expect(await connection).toBe('close')
  await closed
  agent.destroy()
})
