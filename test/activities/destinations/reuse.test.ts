// A connection that is used again has as many listeners as after its first use, and ends soon after its last.
import type { Socket } from 'node:net'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createEgress, type Egress } from '../../../activities/destinations/network/egress.ts'
import { rest } from '../../../activities/destinations/rest/index.ts'
import { certificate, type Reply } from '../../support/receivers/http.ts'
import { aMessage, never } from './contract.ts'
import { aConfig, receiving } from './sending.ts'

const warnings: Error[] = []
const warned = (warning: Error) => void warnings.push(warning)
beforeEach(() => void process.on('warning', warned))
afterEach(() => void process.off('warning', warned))

/** A guard that shows the sockets it opens. */
function watched(): { egress: Egress; sockets: Socket[] } {
  const sockets: Socket[] = []
  const inner = createEgress({ allow: ['127.0.0.0/8'] })
  const egress: Egress = {
    ...inner,
    connect(options) {
      const socket = inner.connect(options)
      sockets.push(socket)
      return socket
    },
  }
  return { egress, sockets }
}

function listeners(socket: Socket): Record<string, number> {
  return Object.fromEntries(socket.eventNames().map((name) => [String(name), socket.listenerCount(name)]))
}

describe('one connection for many requests', () => {
  const replies: [string, Reply][] = [
    ['of success', { body: 'ok' }],
    ['without a body', { status: 204 }],
    ['of refusal', { status: 503, body: 'no' }],
    ['in chunks', { body: 'ok', headers: { 'transfer-encoding': 'chunked' } }],
    ['that is large', { body: 'x'.repeat(200_000) }],
    ['after an interim one', { raw: 'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok' }],
  ]

  it.each([false, true].flatMap((tls) => replies.map((each) => [tls, ...each] as const)))(
    'has one listener for each end of it (TLS: %s, answers %s)',
    async (tls, _, reply) => {
      const receiver = await receiving({ ...reply, raw_then: 'hang' }, { tls })
      const { egress, sockets } = watched()
      const config = aConfig(receiver.url, tls ? { tls: { ca: certificate('ca.pem') } } : {})
      const send = () =>
        rest.deliver(config, aMessage({ body: Buffer.alloc(100_000, 'a') }), never, { egress }).catch(() => {})
      await send()
      await send()
      const before = listeners(sockets[0]!)
      for (let count = 2; count < 50; count++) await send()
      expect(listeners(sockets[0]!)).toEqual(before)
      expect(receiver.requests).toHaveLength(50)
      expect(sockets).toHaveLength(1)
      expect(warnings).toEqual([])
    },
  )

  it('is closed within a minute, even if the server allows it to stay open longer', async () => {
    const receiver = await receiving(
      { body: 'ok', headers: { 'keep-alive': 'timeout=3600', connection: 'keep-alive' } },
      { keepAliveTimeout: 0 },
    )
    const { egress } = watched()
    await Promise.all(
      Array.from({ length: 10 }, () => rest.deliver(aConfig(receiver.url), aMessage(), never, { egress })),
    )
    expect(receiver.connections.open).toBeGreaterThan(0)
    await receiver.until(({ connections }) => connections.open === 0, 10_000)
  })
})
