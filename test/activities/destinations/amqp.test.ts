// What AMQP does beyond the contract, tested with a RabbitMQ of its own.

import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { connect, createServer } from 'node:net'
import { gunzipSync } from 'node:zlib'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { type AmqpConfig, amqpConfig } from '../../../activities/destinations/amqp/config.ts'
import { amqp } from '../../../activities/destinations/amqp/index.ts'
import type { Message } from '../../../activities/destinations/destination.ts'
import { createEgress } from '../../../activities/destinations/network/egress.ts'
import { converse } from '../../support/conversation.ts'
import { type AmqpReader, createAmqpReader } from '../../support/receivers/amqp-reader.ts'
import { certificate } from '../../support/receivers/http.ts'
import { describeWith, INSTALL_MS } from '../../support/receivers/needs.ts'
import { type Rabbitmq, startRabbitmq } from '../../support/receivers/rabbitmq.ts'
import {
  BASIC_ACK,
  CLOSE_OK,
  closeFrame,
  HEARTBEAT,
  methodFrame,
  OPEN_OK,
  SELECT_OK,
  startStrangeAmqp,
} from '../../support/receivers/strange-amqp.ts'
import { aMessage, failureOf, never, SECRET, surroundings } from './contract.ts'

const describe = await describeWith('rabbitmq')

const USER = 'distributor'
/** Names that would mean something else in a URL. */
const VHOSTS = ['/name', 'a%2Fb', 'full']

describe('AMQP', () => {
  let rabbitmq: Rabbitmq
  let read: AmqpReader
  let names = 0

  beforeAll(async () => {
    rabbitmq = await startRabbitmq({
      user: USER,
      password: SECRET,
      vhosts: VHOSTS,
      tls: { key: certificate('server.key'), cert: certificate('server.pem'), clients_ca: certificate('ca.pem') },
    })
    read = createAmqpReader({ port: rabbitmq.port, username: USER, password: SECRET })
  }, INSTALL_MS)
  afterAll(async () => {
    await read?.close()
    await rabbitmq?.close()
  })

  function configured(given: Record<string, unknown>): AmqpConfig {
    const { timeout_seconds = 15, ...rest } = given
    const base = { host: '127.0.0.1', port: rabbitmq.port, security: 'none', username: USER, password: SECRET }
    const config = amqpConfig.parse({ ...base, ...rest }) as AmqpConfig
    return { ...config, timeout_seconds: timeout_seconds as number }
  }

  const send = (given: Record<string, unknown>, message: Partial<Message> = {}, around = surroundings) =>
    amqp.deliver(configured(given), aMessage(message), never, around)
  const probe = (given: Record<string, unknown>) => amqp.probe(configured(given), never, surroundings)

  async function aQueue(options?: Parameters<AmqpReader['declare']>[1]): Promise<string> {
    const queue = `queue-${names++}`
    await read.declare(queue, options)
    return queue
  }

  /** Of the broker's connections, without those that read back. */
  const connections = async () =>
    Number(
      await rabbitmq.evaluate(
        'length([P || P <- rabbit_networking:connections(), {client_properties, Client} <- rabbit_networking:connection_info(P, [client_properties]), {<<"product">>, _, <<"Distributor">>} <- Client])',
      ),
    )

  it('numbers in headers arrive with every digit, in types that all clients read in the same way', async () => {
    const queue = await aQueue()
    const numbers: [name: string, value: unknown, tag: string, digits: string][] = [
      ['zero', 0, 'I', '0'],
      ['less', -1, 'I', '-1'],
      ['byte', 127, 'I', '127'],
      ['over', 128, 'I', '128'],
      ['short', 32_767, 'I', '32767'],
      ['thousand', 1000, 'I', '1000'],
      ['least', -2_147_483_648, 'I', '-2147483648'],
      ['long', 2_147_483_648, 'l', '2147483648'],
      ['safe', Number.MAX_SAFE_INTEGER, 'l', '9007199254740991'],
      ['account', { integer: '9007199254740993' }, 'l', '9007199254740993'],
      ['most', { integer: '9223372036854775807' }, 'l', '9223372036854775807'],
      ['fewest', { integer: '-9223372036854775808' }, 'l', '-9223372036854775808'],
      ['taken', { integer: '{payload.account}' }, 'l', '9007199254740995'],
      ['small', { integer: '12' }, 'I', '12'],
      ['part', 0.1, 'd', '0.1'],
      ['attempt_number', undefined, 'I', '4'],
    ]
    const headers = Object.fromEntries(numbers.filter(([, value]) => value !== undefined))
    const body = Buffer.from('{"account":9007199254740995}')
    await send({ queue, headers }, { body, attempt_number: 4 })
    const wire = await rawMessage(queue)
    for (const [name, , tag, digits] of numbers) {
      const at = wire.indexOf(Buffer.from([name.length, ...Buffer.from(name)])) + 1 + name.length
      expect([name, wire.toString('latin1', at, at + 1)]).toEqual([name, tag])
      const value =
        tag === 'I' ? wire.readInt32BE(at + 1) : tag === 'l' ? wire.readBigInt64BE(at + 1) : wire.readDoubleBE(at + 1)
      expect([name, String(value)]).toEqual([name, digits])
    }
  })

  it.each([
    ['"x"', 'something other than a whole number'],
    ['1.5', 'something other than a whole number'],
    ['9223372036854775808', 'something other than a whole number'],
    ['null', 'finds no text'],
  ])('a header of the type integer that becomes %s is MISCONFIGURED', async (value, says) => {
    const headers = { account: { integer: '{payload.account}' } }
    const error = await failureOf(send({ queue: 'q', headers }, { body: Buffer.from(`{"account":${value}}`) }))
    expect(error).toMatchObject({ code: 'MISCONFIGURED', retryable: false })
    expect(error.message).toContain(says)
  })

  /** What the broker sends for the one message of a queue, as it is on the wire. */
  async function rawMessage(queue: string): Promise<Buffer> {
    const chunks: Buffer[] = []
    const proxy = createServer((client) => {
      const broker = connect(rabbitmq.port, '127.0.0.1')
      broker.on('data', (bytes) => void chunks.push(bytes))
      for (const socket of [client, broker]) socket.on('error', () => {})
      client.pipe(broker).pipe(client)
    }).listen(0, '127.0.0.1')
    await once(proxy, 'listening')
    const { port } = proxy.address() as AddressInfo
    const reader = createAmqpReader({ port, username: USER, password: SECRET })
    await expect.poll(async () => (await reader.all(queue)).length).toBe(1)
    await reader.close()
    proxy.close()
    return Buffer.concat(chunks)
  }

  it('publishes with all documented properties', async () => {
    const queue = await aQueue({ maxPriority: 9 })
    const message = aMessage({ attempt_number: 3, body: Buffer.from('{"customer":{"name":"Zoë\\n"},"n":1.0}') })
    const headers = { who: '{payload.customer.name}', n: '{payload.n}', 'x-number': 7, urgent: true }
    const began = Math.floor(Date.now() / 1000)
    const receipt = await send({ queue, headers, priority: 4, expiration_ms: 60_000, app_id: 'reports' }, message)
    const [{ content, properties }] = (await read.all(queue)) as [Awaited<ReturnType<AmqpReader['all']>>[0]]
    expect(content.equals(message.body)).toBe(true)
    expect(properties).toMatchObject({
      messageId: message.delivery_id,
      correlationId: message.distribution_id,
      type: 'aggregated_report',
      appId: 'reports',
      contentType: 'application/json',
      contentEncoding: undefined,
      deliveryMode: 2,
      priority: 4,
      expiration: '60000',
    })
    expect(properties.headers).toEqual({
      who: 'Zoë\n',
      n: '1.0',
      'x-number': 7,
      urgent: true,
      tenant_id: 'acme',
      distribution_id: message.distribution_id,
      data_type: 'aggregated_report',
      attempt_number: 3,
    })
    expect(properties.timestamp).toBeGreaterThanOrEqual(began)
    expect(properties.timestamp).toBeLessThanOrEqual(Date.now() / 1000)
    const metadata = { message_id: message.delivery_id, exchange: '', routing_key: queue }
    expect(receipt).toEqual({ status: null, body: null, metadata })
  })

  it('a message need not be persistent', async () => {
    const queue = await aQueue()
    await send({ queue, persistent: false })
    expect((await read.all(queue))[0]!.properties.deliveryMode).toBe(1)
  })

  it('fills placeholders in exchange and routing key, with every digit', async () => {
    const queue = await aQueue()
    const channel = await read.channel()
    await channel.assertExchange('aggregated_report', 'topic', { durable: true })
    await channel.bindQueue(queue, 'aggregated_report', 'eu.*')
    const place = { exchange: '{data_type}', routing_key: '{payload.region}.{payload.big}' }
    await send(place, { body: Buffer.from('{"region":"eu","big":9223372036854775807}') })
    expect((await read.all(queue))[0]!.fields).toMatchObject({
      exchange: 'aggregated_report',
      routingKey: 'eu.9223372036854775807',
    })
  })

  it.each([
    ['queue', { queue: '{payload.to}' }, '', 'becomes empty'],
    ['exchange', { exchange: '{payload.to}', routing_key: 'x' }, '', 'becomes empty'],
    ['queue', { queue: '{payload.to}' }, 'ä'.repeat(128), 'longer than 255 bytes'],
    ['routing_key', { exchange: 'amq.topic', routing_key: '{payload.to}' }, 'x'.repeat(256), 'longer than 255 bytes'],
    ['queue', { queue: '{payload.to}' }, 'a\nb', 'control character'],
    ['headers', { queue: 'q', headers: { big: '{payload.to}' } }, 'x'.repeat(40_000), 'larger than'],
  ])(
    'a payload that makes the %s of %j invalid is rejected before anything is sent',
    async (field, place, to, says) => {
      const error = await failureOf(send({ ...place, port: 1 }, { body: Buffer.from(JSON.stringify({ to })) }))
      expect(error).toMatchObject({ code: 'MISCONFIGURED', retryable: false })
      expect(error.message).toContain(field)
      expect(error.message).toContain(says)
    },
  )

  it('a routing key of 255 bytes is accepted', async () => {
    const key = 'x'.repeat(255)
    const queue = await aQueue()
    await (await read.channel()).bindQueue(queue, 'amq.direct', key)
    await send({ exchange: 'amq.direct', routing_key: key })
    expect(await read.all(queue)).toHaveLength(1)
  })

  it.each(VHOSTS.slice(0, 2))('reaches the virtual host %s, which is not percent-encoded', async (vhost) => {
    const there = createAmqpReader({ port: rabbitmq.port, vhost, username: USER, password: SECRET })
    await there.declare('here')
    await send({ vhost, queue: 'here' })
    expect(await there.all('here')).toHaveLength(1)
    await there.close()
  })

  it.each([
    ['the configuration', { compression: 'gzip' }, {}],
    ['the submission', {}, { compression: 'gzip' as const }],
  ])('compresses when %s says so, and states it in the properties', async (_who, given, message) => {
    const queue = await aQueue()
    await send({ queue, ...given }, message)
    const [{ content, properties }] = (await read.all(queue)) as [Awaited<ReturnType<AmqpReader['all']>>[0]]
    expect(properties.contentEncoding).toBe('gzip')
    expect(gunzipSync(content).equals(aMessage().body)).toBe(true)
  })

  it('ten megabytes arrive unchanged', async () => {
    const queue = await aQueue()
    const body = Buffer.alloc(10 * 1024 * 1024, '{"a":"0123456789"}\n')
    await send({ queue }, { body })
    expect((await read.all(queue))[0]!.content.equals(body)).toBe(true)
  })

  it.each([
    ['a message that no queue is bound for', { exchange: 'amq.topic', routing_key: 'nobody' }, 'REJECTED', true, 312],
    ['a missing queue', { queue: 'nowhere' }, 'REJECTED', true, 312],
    ['a missing exchange', { exchange: 'nowhere', routing_key: 'x' }, 'MISCONFIGURED', false, 404],
  ])('%s is a failed attempt', async (_what, place, code, retryable, status) => {
    // Much more than a frame, because the broker returns all of it before the confirmation.
    const error = await failureOf(send(place, { body: Buffer.alloc(3_000_000, 'x') }))
    expect(error).toMatchObject({ code, retryable, response: { status } })
  })

  it('a queue that exists again receives the next attempt', async () => {
    const queue = `late-${names++}`
    const message = aMessage()
    expect(await failureOf(send({ queue }, message))).toMatchObject({ retryable: true })
    await read.declare(queue)
    await send({ queue }, message)
    expect(await read.all(queue)).toHaveLength(1)
  })

  it('a full queue that refuses messages is THROTTLED and tried again', async () => {
    const queue = await aQueue({ maxLength: 1, arguments: { 'x-overflow': 'reject-publish' } })
    await send({ queue })
    expect(await failureOf(send({ queue }))).toMatchObject({ code: 'THROTTLED', retryable: true })
    expect(await read.all(queue)).toHaveLength(1)
    await send({ queue })
  })

  it('a message that is too large for the broker is REJECTED', async () => {
    const queue = await aQueue()
    // The broker reads the limit when a channel is opened; another tenant has another channel.
    const large = (tenant_id: string) => send({ queue }, { tenant_id, body: Buffer.alloc(1001, 'x') })
    const before = await rabbitmq.evaluate('element(2, application:get_env(rabbit, max_message_size))')
    await rabbitmq.evaluate('application:set_env(rabbit, max_message_size, 1000)')
    try {
      const expected = { code: 'REJECTED', retryable: false, response: { status: 406 } }
      expect(await failureOf(large('limited'))).toMatchObject(expected)
    } finally {
      await rabbitmq.evaluate(`application:set_env(rabbit, max_message_size, ${before})`)
    }
    await large('unlimited')
  })

  it('a user who may log in but not publish is UNAUTHORIZED; the probe succeeds', async () => {
    const queue = await aQueue()
    await rabbitmq.evaluate('rabbit_auth_backend_internal:add_user(<<"guest-of-all">>, <<"pass-word">>, <<"test">>)')
    await rabbitmq.evaluate(
      'rabbit_auth_backend_internal:set_permissions(<<"guest-of-all">>, <<"/">>, <<>>, <<>>, <<>>, <<"test">>)',
    )
    const who = { username: 'guest-of-all', password: 'pass-word' }
    const expected = { code: 'UNAUTHORIZED', retryable: false, response: { status: 403 } }
    expect(await failureOf(send({ ...who, queue }))).toMatchObject(expected)
    expect(await failureOf(send({ ...who, exchange: 'amq.topic', routing_key: 'x' }))).toMatchObject(expected)
    await probe({ ...who, queue })
    await probe({ ...who, exchange: 'amq.topic' })
    const elsewhere = { code: 'MISCONFIGURED', response: { status: 530 } }
    expect(await failureOf(send({ ...who, queue, vhost: '/name' }))).toMatchObject(elsewhere)
  })

  it('a virtual host that is missing or at its limit is MISCONFIGURED and tried again, for the broker sends the same code', async () => {
    await rabbitmq.evaluate('rabbit_vhost_limit:set(<<"full">>, [{<<"max-connections">>, 0}], <<"test">>)')
    for (const vhost of ['missing', 'full']) {
      const expected = { code: 'MISCONFIGURED', retryable: true, response: { status: 530 } }
      expect(await failureOf(send({ vhost, queue: 'x' }))).toMatchObject(expected)
      expect(await failureOf(probe({ vhost, queue: 'x' }))).toMatchObject(expected)
    }
  })

  it('a user at its limit of channels is MISCONFIGURED and tried again, for that passes', async () => {
    const limit = (limits: string) =>
      rabbitmq.evaluate(`rabbit_auth_backend_internal:${limits.replace('USER', `<<"${USER}">>`)}`)
    await limit('set_user_limits(USER, #{<<"max-channels">> => 0}, <<"test">>)')
    try {
      const around = { egress: createEgress({ allow: ['127.0.0.0/8'] }) }
      const expected = { code: 'MISCONFIGURED', retryable: true, response: { status: 530 } }
      expect(await failureOf(send({ queue: 'x' }, {}, around))).toMatchObject(expected)
      expect(await failureOf(probe({ queue: 'x' }))).toMatchObject(expected)
    } finally {
      await limit('clear_user_limits(USER, <<"all">>, <<"test">>)')
    }
  })

  it('a probe reports a missing exchange or queue, unless its name depends on the payload', async () => {
    const missing = { code: 'MISCONFIGURED', retryable: false, response: { status: 404 } }
    expect(await failureOf(probe({ exchange: 'nowhere' }))).toMatchObject(missing)
    expect(await failureOf(probe({ queue: 'nowhere' }))).toMatchObject(missing)
    expect(await failureOf(probe({ queue: 'no{{where' }))).toMatchObject({ response: { body: /no\{where/ } })
    await probe({ exchange: '{payload.a}' })
    await probe({ exchange: 'amq.topic' })
    await probe({ queue: await aQueue() })
  })

  it('a connection is reused by one tenant only, by one delivery at a time, for any exchange or queue', async () => {
    const [one, other] = [await aQueue(), await aQueue()]
    const conversation = await converse({ host: '127.0.0.1', port: rabbitmq.port })
    const at = { port: conversation.port }
    for (const queue of [one, other, one]) await send({ ...at, queue, headers: { queue } })
    expect(conversation.connections.total).toBe(1)
    await send({ ...at, queue: one }, { tenant_id: 'other' })
    expect(conversation.connections.total).toBe(2)
    await Promise.all([1, 2, 3].map(() => send({ ...at, queue: other })))
    expect(conversation.connections.total).toBe(4)
    await conversation.close()
  })

  it('the number of idle connections is limited, however many were open at once', async () => {
    const queue = await aQueue()
    const around = { egress: createEgress({ allow: ['127.0.0.0/8'] }) }
    const before = await connections()
    await Promise.all(Array.from({ length: 110 }, () => send({ queue }, {}, around)))
    await expect.poll(connections).toBeLessThanOrEqual(before + 100)
    expect(await connections()).toBeGreaterThan(before + 50)
    expect(await read.all(queue)).toHaveLength(110)
  })

  it('heartbeats detect a broker that stops answering before it confirms', async () => {
    const queue = await aQueue()
    const whole = await converse({ host: '127.0.0.1', port: rabbitmq.port })
    await send({ port: whole.port, queue })
    const turns = whole.turns()
    await whole.close()
    const silent = await converse({ host: '127.0.0.1', port: rabbitmq.port }, { at: turns, kind: 'stall' })
    const given = { port: silent.port, queue, heartbeat_seconds: 1, timeout_seconds: 60 }
    expect(await failureOf(send(given))).toMatchObject({ code: 'DESTINATION_UNAVAILABLE', retryable: true })
    await silent.idle(2_000)
    silent.mend()
    await send(given)
    await silent.close()
  })

  it('a missed heartbeat of an idle connection ends that connection and nothing else', async () => {
    const queue = await aQueue()
    const conversation = await converse({ host: '127.0.0.1', port: rabbitmq.port })
    const given = { port: conversation.port, queue, heartbeat_seconds: 1 }
    await send(given)
    conversation.freeze()
    await conversation.idle(10_000)
    await send(given)
    expect(conversation.connections.total).toBe(2)
    await conversation.close()
  })

  it('a broker that is killed and restarted is reached again, and has what it confirmed', async () => {
    const queue = await aQueue()
    const message = aMessage()
    await send({ queue }, message)
    // What it knows of queues it writes down within seconds; messages, before they are confirmed.
    await rabbitmq.evaluate('mnesia:sync_log()')
    process.kill(rabbitmq.pid(), 'SIGKILL')
    await expect
      .poll(() => failureOf(send({ queue })).then(({ code, retryable }) => [code, retryable]))
      .toEqual(['DESTINATION_UNAVAILABLE', true])
    await rabbitmq.restart()
    const after = aMessage()
    await send({ queue }, after)
    const arrived = (await read.all(queue)).map(({ properties }) => properties.messageId)
    expect(arrived).toEqual([message.delivery_id, after.delivery_id])
  })

  it('a broker that is low on memory is THROTTLED; its connection is not reused, and its message not accepted later', async () => {
    const queue = await aQueue()
    const conversation = await converse({ host: '127.0.0.1', port: rabbitmq.port })
    const throttled = { code: 'THROTTLED', retryable: true }
    const memory = await rabbitmq.evaluate('vm_memory_monitor:get_vm_memory_high_watermark()')
    const messages = [aMessage(), aMessage({ body: Buffer.alloc(5_000_000, 'x') })]
    await send({ queue, port: conversation.port })
    await read.all(queue)
    await rabbitmq.evaluate('vm_memory_monitor:set_vm_memory_high_watermark(0.000001)')
    try {
      // The one from before the alarm, then new ones.
      for (const total of [1, 2]) {
        const short = { queue: 'nowhere', port: conversation.port }
        expect(await failureOf(send(short))).toMatchObject(throttled)
        expect(conversation.connections.total).toBe(total)
        await conversation.idle(2_000)
      }
      await Promise.all([
        ...messages.map(async (message) => {
          expect(await failureOf(send({ queue }, message))).toMatchObject(throttled)
        }),
        failureOf(send({ queue, timeout_seconds: 0.5 })).then((late) => {
          expect(late).toMatchObject({ code: 'TIMEOUT', retryable: true })
        }),
      ])
    } finally {
      await rabbitmq.evaluate(`vm_memory_monitor:set_vm_memory_high_watermark(${memory})`)
    }
    for (const message of messages) await send({ queue }, { ...message, attempt_number: 2 })
    expect(
      (await read.all(queue))
        .slice(1)
        .map(({ properties: { messageId, headers } }) => [messageId, headers?.attempt_number]),
    ).toEqual(messages.map(({ delivery_id }) => [delivery_id, 2]))
    await conversation.close()
  })

  describe('over TLS', () => {
    const trusting = () => ({ security: 'tls', port: rabbitmq.tls_port, tls: { ca: certificate('ca.pem') } })

    it('delivers to a broker with a valid certificate', async () => {
      const queue = await aQueue()
      const around = {
        egress: createEgress({
          allow: ['127.0.0.0/8'],
          lookup: async () => [{ address: '127.0.0.1', family: 4 }],
        }),
      }
      await send({ ...trusting(), host: 'localhost.', queue }, { body: Buffer.alloc(5_000_000, 'x') }, around)
      await probe({ ...trusting(), queue })
      expect(await read.all(queue)).toHaveLength(1)
    })

    it.each([
      ['of an unknown authority', { tls: {} }],
      ['for another name', { tls: { ca: certificate('ca.pem'), server_name: 'other.test' } }],
    ])('a certificate %s makes no secure connection, and is tried again', async (_what, given) => {
      const error = await failureOf(send({ ...trusting(), ...given, queue: 'x' }))
      expect(error).toMatchObject({ code: 'DESTINATION_UNAVAILABLE', retryable: true })
      expect(error.message).toContain('no secure connection')
    })

    it('sends a client certificate', async () => {
      const queue = await aQueue()
      const own = { client_certificate: certificate('client.pem'), client_key: certificate('client.key') }
      await send({ ...trusting(), tls: { ca: certificate('ca.pem'), ...own }, queue })
      // One that ends meanwhile has no information any more.
      const subjects = await rabbitmq.evaluate(
        '[S || P <- rabbit_networking:connections(), {peer_cert_subject, S} <- try rabbit_networking:connection_info(P, [peer_cert_subject]) catch _:_ -> [] end]',
      )
      expect(subjects).toContain('CN=client')
    })

    it('a plain connection to a TLS port, and the reverse, are failed attempts', async () => {
      const expected = { code: 'DESTINATION_UNAVAILABLE', retryable: true }
      expect(await failureOf(send({ port: rabbitmq.tls_port, queue: 'x' }))).toMatchObject(expected)
      expect(await failureOf(send({ ...trusting(), port: rabbitmq.port, queue: 'x' }))).toMatchObject(expected)
    })
  })

  it.each([
    ['hangs up', '', 'closed the connection'],
    ['speaks HTTP', 'HTTP/1.1 400 Bad Request\r\n\r\n', 'AMQP 0-9-1'],
    ['speaks another version', 'AMQP\0\x01\0\0', 'AMQP 0-9-1'],
    ['announces a frame without end', '\x01\0\0\xff\xff\xff\xff', 'AMQP 0-9-1'],
    ['sends a broken frame', '\x01\0\0\0\0\0\x04\xff\xff\xff\xff\xce', 'AMQP 0-9-1'],
  ])('another server that %s is a failed attempt', async (_what, answer, says) => {
    const server = createServer((socket) => {
      socket.on('error', () => {})
      socket.once('data', () => (answer === '' ? socket.end() : socket.write(answer, 'latin1')))
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const error = await failureOf(send({ port: (server.address() as AddressInfo).port, queue: 'x' }))
    expect(error).toMatchObject({ code: 'DESTINATION_UNAVAILABLE', retryable: true })
    expect(error.message).toContain(says)
    await new Promise((resolve) => server.close(resolve))
  })

  it.each([
    ['ends the connection together with its opening', OPEN_OK, closeFrame(0, 541, 'INTERNAL_ERROR'), '(541)'],
    ['takes it down at once', OPEN_OK, closeFrame(0, 320, 'CONNECTION_FORCED'), '(320)'],
    ['opens and sends no frame', OPEN_OK, Buffer.from('\x07no frame at all'), 'not AMQP'],
    ['speaks of a channel that is not there', OPEN_OK, closeFrame(9, 404, 'NOT_FOUND'), '(404)'],
    ['confirms and sends no frame', BASIC_ACK, Buffer.from('\x07no frame at all'), undefined],
    [
      'confirms what was never sent',
      BASIC_ACK,
      methodFrame(1, 60, 80, Buffer.from('000000000000006300', 'hex')),
      undefined,
    ],
    ['answers what was never asked', BASIC_ACK, methodFrame(1, 50, 41, Buffer.alloc(0)), undefined],
  ])('a broker that %s does not end the process', async (_what, method, more, says) => {
    const strange = await startStrangeAmqp(rabbitmq.port, method, (answer) => Buffer.concat([answer, more]))
    const around = { egress: createEgress({ allow: ['127.0.0.0/8'] }) }
    const given = { port: strange.port, queue: await aQueue() }
    // What comes after the confirmation breaks the connection, not the delivery.
    if (says === undefined) await send(given, {}, around)
    else expect((await failureOf(send(given, {}, around))).message).toContain(says)
    await strange.close()
  })

  it('a confirmation of a message that is not sent completely does not count', async () => {
    const early = methodFrame(1, 60, 80, Buffer.from('000000000000000100', 'hex'))
    const strange = await startStrangeAmqp(rabbitmq.port, SELECT_OK, (answer, client) => {
      client.once('data', () => client.write(early))
      return answer
    })
    const around = { egress: createEgress({ allow: ['127.0.0.0/8'] }) }
    const message = { body: Buffer.alloc(10_000_000, 'x') }
    const error = await failureOf(send({ port: strange.port, queue: await aQueue() }, message, around))
    expect(error).toMatchObject({ code: 'DESTINATION_UNAVAILABLE', retryable: true })
    await strange.close()
  })

  it('a probe succeeds although the broker does not answer connection.close', async () => {
    const queue = await aQueue()
    const around = { egress: createEgress({ allow: ['127.0.0.0/8'] }) }
    const strange = await startStrangeAmqp(rabbitmq.port, CLOSE_OK, () => Buffer.alloc(0))
    await amqp.probe(configured({ port: strange.port, queue }), never, around)
    await strange.close()
  })

  it('a connection to a broker that sends data without end is ended', async () => {
    const strange = await startStrangeAmqp(rabbitmq.port, BASIC_ACK, (_answer, client) => {
      const many = Buffer.concat(Array.from({ length: 10_000 }, () => HEARTBEAT))
      const more = () => {
        while (!client.destroyed && client.write(many));
      }
      client.on('drain', more)
      setImmediate(more)
      return many
    })
    const error = await failureOf(send({ port: strange.port, queue: await aQueue(), timeout_seconds: 60 }))
    expect(error).toMatchObject({ code: 'DESTINATION_UNAVAILABLE', retryable: true })
    expect(error.message).toContain('more data than expected')
    await strange.close()
  })

  it('of 4,000 messages during a restart of the broker, each confirmed one is in the durable queue', async () => {
    const queue = await aQueue()
    const confirmed = new Set<string>()
    const ids = Array.from({ length: 4_000 }, (_, index) => `message-${index}`)
    const left = ids.values()
    let failed = 0
    const work = async () => {
      for (const delivery_id of left) {
        for (let attempt_number = 1; !confirmed.has(delivery_id); attempt_number++) {
          try {
            await send({ queue }, { delivery_id, attempt_number })
            confirmed.add(delivery_id)
          } catch (error) {
            expect(error).toMatchObject({ retryable: true })
            failed += 1
            await new Promise((resolve) => setTimeout(resolve, 100))
          }
        }
      }
    }
    const working = Promise.all(Array.from({ length: 40 }, work))
    await expect.poll(() => confirmed.size, { timeout: 30_000 }).toBeGreaterThan(1_000)
    await rabbitmq.restart()
    await working
    expect(failed).toBeGreaterThan(0)
    const arrived = new Set((await read.all(queue)).map(({ properties }) => properties.messageId))
    expect(arrived.size).toBe(4_000)
    expect(ids.filter((id) => !arrived.has(id))).toEqual([])
  }, 120_000)
})
