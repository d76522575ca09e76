// LINE: a protocol that exists only in tests. It proves that a protocol is one folder and one line in a list.
// The client says `AUTH token`, then `PUT box delivery_id bytes` and the bytes; each is answered by `OK` or by `NO code`.
import { once } from 'node:events'
import { z } from 'zod'
import { defineDestination } from '../../../activities/destinations/destination.ts'
import { DeliveryError } from '../../../activities/destinations/errors.ts'
import {
  deadlineMs,
  host,
  port,
  probeMs,
  template,
  timeoutSeconds,
  tls,
} from '../../../activities/destinations/fields.ts'
import { keepConnections } from '../../../activities/destinations/network/connections.ts'
import { type Attempt, withinDeadline } from '../../../activities/destinations/network/deadline.ts'
import type { Egress } from '../../../activities/destinations/network/egress.ts'
import { connectGuarded, type GuardedConnection } from '../../../activities/destinations/network/guarded.ts'
import { targetOf } from '../../../activities/destinations/network/target.ts'
import { tlsConnection, tlsMaterial } from '../../../activities/destinations/network/tls.ts'
import { configuration, deciding, type Resolved, secret } from '../../../activities/destinations/secrets/secret.ts'
import { fillTemplate } from '../../../activities/destinations/template/placeholders.ts'

export const lineConfig = configuration({
  host: host(),
  port: port(7171),
  security: deciding(z.enum(['tls', 'none']))
    .default('tls')
    .describe('`none` sends everything in plain text'),
  tls: tls(),
  token: secret().describe('What the server asks for'),
  box: template(100).describe('The box that the payload is put into; may hold placeholders'),
  timeout_seconds: timeoutSeconds(),
})

type LineConfig = Resolved<z.output<typeof lineConfig>>

/** An answer is a few characters. */
const MAX_ANSWER_BYTES = 100

const FAILURES: Record<string, [code: DeliveryError['code'], says: string]> = {
  token: ['UNAUTHORIZED', 'the server refused the token'],
  box: ['MISCONFIGURED', 'the server has no such box'],
  busy: ['THROTTLED', 'the server is busy'],
}

const connections = keepConnections<GuardedConnection>({
  idleMs: 10_000,
  check: (connection) => ask(connection, 'PING'),
  destroy: (connection) => connection.destroy(),
})

export const line = defineDestination({
  protocol: 'LINE',
  config: lineConfig,
  example: { host: 'lines.example', box: 'reports-{data_type}', credentials: 'lines' },
  documentation: {
    delivered: 'the server answered OK',
    repeat: 'the delivery id stands before the payload',
    again: 'busy, timeout, network',
    final: 'an unknown box',
  },
  gzip: false,
  target: (config) => targetOf(config.host, config.port),
  deadlineMs,

  async deliver(config, message, signal, { egress }) {
    const box = fillTemplate(config.box, message)
    if (!/^\S+$/.test(box)) throw new DeliveryError('MISCONFIGURED', 'box becomes empty, or has a space in it')
    await withinDeadline({ timeoutMs: deadlineMs(config), signal }, (attempt) =>
      connections.use(
        { egress, tenant_id: message.tenant_id, config },
        attempt,
        () => open(config, attempt, egress),
        (connection) => {
          attempt.expect('answer PUT')
          return ask(connection, `PUT ${box} ${message.delivery_id} ${message.body.length}`, message.body)
        },
      ),
    )
    return { status: null, body: null, metadata: { box } }
  },

  async probe(config, signal, { egress }) {
    await withinDeadline({ timeoutMs: probeMs(config), signal }, async (attempt) => {
      const connection = await open(config, attempt, egress)
      connection.destroy()
    })
  },
})

function open(config: LineConfig, attempt: Attempt, egress: Egress): Promise<GuardedConnection> {
  const secured = config.security === 'tls' && { tls: tlsConnection(tlsMaterial(config.tls)) }
  return connectGuarded({ host: config.host, port: config.port, ...secured }, attempt, egress, async (connection) => {
    attempt.expect('answer AUTH')
    await ask(connection, `AUTH ${config.token}`)
    return connection
  })
}

/** Sends one line, and what comes behind it, and reads the answer. */
async function ask({ socket, orLost, end }: GuardedConnection, words: string, content?: Buffer): Promise<void> {
  socket.write(`${words}\r\n`)
  if (content) socket.write(content)
  let answer = ''
  while (!answer.endsWith('\r\n') && answer.length < MAX_ANSWER_BYTES) {
    const bytes = socket.read() as Buffer | null
    if (bytes) answer += bytes.toString('latin1')
    else await orLost(once(socket, 'readable'))
  }
  if (answer === 'OK\r\n') return
  const [code, says] = FAILURES[/^NO (\w+)\r\n$/.exec(answer)?.[1] ?? ''] ?? [
    'DESTINATION_UNAVAILABLE',
    'the answer could not be understood',
  ]
  throw end(new DeliveryError(code, says))
}
