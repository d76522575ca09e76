// What every protocol must keep, against the real server of its kind. Each `<protocol>.test.ts` says how to start one
// and how to read back what it holds; the cases are the same for all.
import { randomUUID } from 'node:crypto'
import { setMaxListeners } from 'node:events'
import { connect, type Socket } from 'node:net'
import { Readable } from 'node:stream'
import { inspect } from 'node:util'
import { afterAll, beforeAll, expect, it } from 'vitest'
import type { Destination, EgressContext, Message } from '../../../activities/destinations/destination.ts'
import { DeliveryError } from '../../../activities/destinations/errors.ts'
import { createEgress } from '../../../activities/destinations/network/egress.ts'
import { reachedHosts, secretsIn } from '../../../activities/destinations/secrets/secret.ts'
import { findLiteralSecrets, maskSecrets } from '../../../activities/destinations/secrets/storage.ts'
import { cleanReceipt, withoutSecrets } from '../../../activities/destinations/secrets/without-secrets.ts'
import { type Conversation, converse, type Fault } from '../../support/conversation.ts'
import { refusedPort } from '../../support/receivers/http.ts'
import { describeWith, INSTALL_MS } from '../../support/receivers/needs.ts'
import type { ReceiverProgram } from '../../support/receivers/programs.ts'
import { startStrangeServer } from '../../support/strange-server.ts'
import { CERTIFICATE, startTlsFront } from '../../support/tls-front.ts'
import { fieldsOf } from './schema-fields.ts'

/** A protocol and the server that it is tried on. */
export interface Subject {
  destination: Destination
  /** Tells two servers of one protocol apart in the titles. */
  on?: string
  /** Starts the real server; once for all cases. With `tls` one that shows CERTIFICATE, as far as it does so itself. */
  start(options: { tls: boolean }): Promise<Server>
  /**
   * How connections are encrypted: `first` means TLS from the first byte, which the suite puts before the server. `inside`
   * means that the server starts it in its own words. Left out: the protocol has no TLS.
   */
  tls?: 'first' | 'inside'
  /** Text fields that are called like a secret and are none. */
  notSecret?: string[]
  /** What a repeat under one delivery id leaves behind. */
  repeat: 'one effect' | 'recognisable'
  /** What the server needs on this machine. */
  programs: ReceiverProgram[]
  /**
   * The protocol has no question without effect, so that a kept connection which has gone silent costs an attempt. HTTP.
   */
  unchecked?: true
}

export interface Server {
  /** On 127.0.0.1. */
  port: number
  /** A new, empty place at the server: a queue, a table, a bucket, a folder, a mailbox. */
  place(): Promise<Place>
  /** Ends the server and starts it again on the same port, with what it holds. */
  restart(): Promise<void>
  close(): Promise<void>
}

/** Where the server is found: a proxy stands in between. */
export interface At {
  host: string
  port: number
  timeout_seconds: number
}

/** Configurations are resolved, with their defaults, and have SECRET as their secret. */
export interface Place {
  config(at: At): unknown
  /** With TLS, and these of its fields. */
  secured?(at: At, tls: { ca?: string; server_name?: string }): unknown
  /** With those hosts that `config` does not have. */
  others?(at: At): unknown[]
  /** With WRONG for a secret. */
  locked(at: At): unknown
  /** One that the server refuses for good: a missing queue or bucket, a forbidden folder, an unknown recipient. */
  refused(at: At): unknown
  /** Read back by the server's own client, oldest first. */
  arrived(): Promise<{ body: Buffer; delivery_id: string }[]>
  /** What arrives of a message, where that is not the payload's bytes. */
  expected?(message: Message): Buffer
}

/** Stands in every configuration, and may come to light nowhere else. */
export const SECRET = 'contract-secret-4711'

/** The same for configurations that the server turns away. */
export const WRONG = 'contract-wrong-0815'

/** Loopback is allowed, for that is where receivers are. */
const ALLOW = ['127.0.0.0/8', '::1/128']
export const surroundings: EgressContext = { egress: createEgress({ allow: ALLOW }) }

/** 169.254.169.254, cloud metadata, in the spellings that a guard may miss. */
const METADATA = ['169.254.169.254', '[::ffff:169.254.169.254]', '[::ffff:a9fe:a9fe]', '2852039166', '0xa9fea9fe']

/** Names of fields that hold a secret, unless a protocol says otherwise. */
const LIKE_A_SECRET = /(^|[._])(password|token|secret|key|passphrase)$/

/** What a server of another kind may say, in words, in bytes, or for ever. */
const NONSENSE: [kind: string, speak: (socket: Socket) => void][] = [
  ['words', (socket) => socket.on('data', () => socket.write('What?\r\n')).write('Hello, stranger\r\n')],
  ['zeros', (socket) => void socket.write(Buffer.alloc(4096))],
  ['all bits', (socket) => socket.on('data', () => socket.end()).write(Buffer.alloc(4096, 0xff))],
  [
    'without end',
    (socket) =>
      void Readable.from(endless(), { objectMode: false })
        .on('error', () => {})
        .pipe(socket),
  ],
]

function* endless(): Generator<Buffer> {
  for (const piece = Buffer.alloc(64 * 1024, 'nonsense\r\n'); ; ) yield piece
}

/** A message with what a test does not care for filled in. */
export function aMessage(given: Partial<Message> = {}): Message {
  return {
    tenant_id: 'acme',
    distribution_id: 'dist_0190f6a0-0000-7000-8000-000000000001',
    data_type: 'aggregated_report',
    delivery_id: randomUUID(),
    attempt_number: 1,
    body: Buffer.from('{"report_id":"r-1", "big": 9223372036854775807, "price": 1.0, "esc": "\\u00e9\\/"}'),
    content_type: 'application/json',
    compression: 'none',
    ...given,
  }
}

/** The error of a delivery that must fail. */
export async function failureOf(attempt: Promise<unknown>): Promise<DeliveryError> {
  const error = await attempt.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  if (!(error instanceof DeliveryError)) throw new Error('expected a DeliveryError', { cause: error })
  return error
}

/** Signals nothing. One for all of a file, hence without Node's limit of listeners. */
export const never = new AbortController().signal
setMaxListeners(0, never)

/** Long enough for every conversation that nothing disturbs, and for a busy machine. */
const PATIENT = 15
/** For those that will never come to their end. */
const SHORT = 0.8
/** Conversations that are disturbed at the same time. */
const AT_ONCE = 8
/** An answer in small pieces has many turns; those beyond are of the same kind. */
const MAX_TURNS = 40

/** Registers the cases; to be awaited at the top of a test file. */
export async function contract(subject: Subject): Promise<void> {
  const { destination } = subject
  const title = `the contract of ${destination.protocol}${subject.on ? ` on ${subject.on}` : ''}`
  const describe = await describeWith(...subject.programs)

  describe(title, () => {
    let server: Server
    const open: { close(): Promise<void> }[] = []

    beforeAll(async () => {
      server = await subject.start({ tls: false })
    }, INSTALL_MS)
    afterAll(async () => {
      await Promise.all(open.map((each) => each.close()))
      await server?.close()
    })

    async function proxied(fault?: Fault): Promise<Conversation> {
      const conversation = await converse({ host: '127.0.0.1', port: server.port }, fault)
      open.push(conversation)
      return conversation
    }

    const at = ({ port }: { port: number }, timeout_seconds = PATIENT, host = '127.0.0.1'): At => ({
      host,
      port,
      timeout_seconds,
    })

    const deliver = (config: unknown, message: Message, signal = never, around = surroundings) =>
      destination.deliver(config as never, message, signal, around)

    const probe = (config: unknown, around = surroundings) => destination.probe(config as never, never, around)

    /** Each under a tenant of its own, so that none takes over another's connection. */
    const alone = (given: Partial<Message> = {}) => aMessage({ tenant_id: randomUUID(), ...given })

    async function expectArrival(place: Place, message: Message, times: 'once' | 'again'): Promise<void> {
      const arrived = await place.arrived()
      if (times === 'once') expect(arrived).toHaveLength(1)
      else expect(arrived.length).toBeGreaterThanOrEqual(1)
      const body = place.expected?.(message) ?? message.body
      for (const arrival of arrived) {
        expect(arrival.body.toString('latin1')).toBe(body.toString('latin1'))
        expect(arrival.delivery_id).toBe(message.delivery_id)
      }
    }

    /** One case per turn and kind, several at a time; a failure says which. */
    async function atEveryTurn(
      kinds: Fault['kind'][],
      run: (fault: Fault, place: Place) => Promise<unknown>,
    ): Promise<void> {
      const conversation = await proxied()
      await deliver((await server.place()).config(at(conversation)), alone())
      const turns = Math.min(conversation.turns(), MAX_TURNS)
      expect(turns).toBeGreaterThanOrEqual(2)
      const faults = kinds.flatMap((kind) =>
        Array.from({ length: turns + 1 }, (_, turn): Fault => ({ at: turn, kind })),
      )
      const left = faults.entries()
      const failures: Error[] = []
      const work = async () => {
        for (const [, fault] of left) {
          await server
            .place()
            .then((place) => run(fault, place))
            .catch((cause: unknown) => {
              failures.push(new Error(`${fault.kind} at turn ${fault.at} of ${turns}: ${inspect(cause)}`))
            })
        }
      }
      await Promise.all(Array.from({ length: AT_ONCE }, work))
      if (failures.length > 0) throw new AggregateError(failures, failures.map(({ message }) => message).join('\n\n'))
    }

    it('delivers once: the exact content, under the delivery id', async () => {
      const place = await server.place()
      const message = alone()
      await deliver(place.config(at(server)), message)
      await expectArrival(place, message, 'once')
    })

    it(`a repeat with the same delivery id: ${subject.repeat}, the same content`, async () => {
      const place = await server.place()
      const message = alone()
      await deliver(place.config(at(server)), message)
      await deliver(place.config(at(server)), { ...message, attempt_number: 2 })
      await expectArrival(place, message, subject.repeat === 'one effect' ? 'once' : 'again')
      if (subject.repeat === 'recognisable') expect(await place.arrived()).toHaveLength(2)
    })

    it('a permanent rejection by the server is final', async () => {
      const place = await server.place()
      const error = await failureOf(deliver(place.refused(at(server)), alone()))
      expect(['REJECTED', 'MISCONFIGURED']).toContain(error.code)
      expect(error.retryable).toBe(false)
      expect(await place.arrived()).toEqual([])
    })

    it('bad credentials are UNAUTHORIZED and final, for delivery and probe', async () => {
      const place = await server.place()
      const expected = { code: 'UNAUTHORIZED', retryable: false }
      expect(await failureOf(deliver(place.locked(at(server)), alone()))).toMatchObject(expected)
      expect(await failureOf(probe(place.locked(at(server))))).toMatchObject(expected)
      expect(await place.arrived()).toEqual([])
    })

    it('a refused connection is tried again, for delivery and probe', async () => {
      const place = await server.place()
      const config = place.config(at({ port: await refusedPort() }))
      const expected = { code: 'DESTINATION_UNAVAILABLE', retryable: true }
      expect(await failureOf(deliver(config, alone()))).toMatchObject(expected)
      expect(await failureOf(probe(config))).toMatchObject(expected)
    })

    it('an unknown host is tried again, for delivery and probe', async () => {
      const lookup = () => Promise.reject(Object.assign(new Error('no such host'), { code: 'ENOTFOUND' }))
      const around = { egress: createEgress({ allow: ALLOW, lookup }) }
      const config = (await server.place()).config(at(server, PATIENT, 'receiver.test'))
      const expected = { code: 'DESTINATION_UNAVAILABLE', retryable: true }
      expect(await failureOf(deliver(config, alone(), never, around))).toMatchObject(expected)
      expect(await failureOf(probe(config, around))).toMatchObject(expected)
    })

    it('a host name that is never answered for ends with the deadline', async () => {
      const around = { egress: createEgress({ allow: ALLOW, lookup: () => new Promise(() => {}) }) }
      const config = (await server.place()).config(at(server, SHORT, 'receiver.test'))
      expect(await failureOf(deliver(config, alone(), never, around))).toMatchObject({ code: 'TIMEOUT' })
    })

    it('a stall at any turn ends as TIMEOUT, closes the socket, and the next attempt delivers', () =>
      atEveryTurn(['stall'], async (fault, place) => {
        const conversation = await proxied(fault)
        const message = alone()
        const began = performance.now()
        const error = await deliver(place.config(at(conversation, SHORT)), message).catch((reason: unknown) => reason)
        // What stalls after the confirmation, such as a farewell, is nobody's loss.
        if (error instanceof Error) {
          expect(error).toMatchObject({ code: 'TIMEOUT', retryable: true })
          expect(performance.now() - began).toBeLessThan(5_000)
          await conversation.idle(2_000)
        } else expect(fault.at).toBeGreaterThan(1)
        conversation.mend()
        await deliver(place.config(at(conversation)), { ...message, attempt_number: 2 })
        await expectArrival(place, message, subject.repeat === 'one effect' ? 'once' : 'again')
      }))

    it('a cut at any turn, before or after its last byte, is tried again, and then delivers', () =>
      atEveryTurn(['cut', 'cut short'], async (fault, place) => {
        const conversation = await proxied(fault)
        const message = alone()
        const error = await deliver(place.config(at(conversation)), message).catch((reason: unknown) => reason)
        if (error instanceof Error) {
          expect(error).toMatchObject({ code: 'DESTINATION_UNAVAILABLE', retryable: true })
          await conversation.idle(2_000)
        } else {
          expect(fault.at).toBeGreaterThan(1)
          await expectArrival(place, message, 'once')
        }
        conversation.mend()
        await deliver(place.config(at(conversation)), { ...message, attempt_number: 2 })
        await expectArrival(place, message, subject.repeat === 'one effect' ? 'once' : 'again')
      }))

    it('an abort at any turn closes the socket within 2 s and comes back as its reason', () =>
      atEveryTurn(['stall'], async (fault, place) => {
        const conversation = await proxied(fault)
        const controller = new AbortController()
        const reason = new Error('cancelled')
        const attempt = deliver(place.config(at(conversation)), alone(), controller.signal).then(
          () => undefined,
          (error: unknown) => error,
        )
        await Promise.race([conversation.reached, attempt])
        controller.abort(reason)
        const outcome = await attempt
        if (outcome === undefined) return
        expect(outcome).toBe(reason)
        await conversation.idle(2_000)
      }))

    it('an abort that came before sends nothing', async () => {
      const place = await server.place()
      const conversation = await proxied()
      const reason = new Error('cancelled')
      const attempt = deliver(place.config(at(conversation)), alone(), AbortSignal.abort(reason))
      await expect(attempt).rejects.toBe(reason)
      expect(conversation.connections.total).toBe(0)
    })

    it.each(METADATA)('cloud metadata as %s is out of reach, for delivery and probe', async (host) => {
      const config = (await server.place()).config(at({ port: 80 }, PATIENT, host))
      const denied = { code: 'EGRESS_DENIED', retryable: false }
      expect(await failureOf(deliver(config, alone()))).toMatchObject(denied)
      expect(await failureOf(probe(config))).toMatchObject(denied)
    })

    it('a name is looked up once, and is out of reach once it is bound to cloud metadata', async () => {
      const place = await server.place()
      let lookups = 0
      const lookup = async () => {
        lookups += 1
        return [{ address: lookups === 1 ? '127.0.0.1' : '169.254.169.254', family: 4 }]
      }
      const around = { egress: createEgress({ allow: ALLOW, lookup }) }
      const config = place.config(at(server, PATIENT, 'receiver.test'))
      const message = alone()
      await deliver(config, message, never, around)
      expect(lookups).toBe(1)
      await expectArrival(place, message, 'once')
      const error = await failureOf(deliver(config, alone(), never, around))
      expect(error).toMatchObject({ code: 'EGRESS_DENIED', retryable: false })
    })

    it('a probe of one that is well succeeds, leaves nothing there and no connection', async () => {
      const place = await server.place()
      const conversation = await proxied()
      await probe(place.config(at(conversation)))
      await conversation.idle(2_000)
      expect(await place.arrived()).toEqual([])
    })

    it('a probe of one that says nothing ends with the deadline', async () => {
      const conversation = await proxied({ at: 0, kind: 'stall' })
      const error = await failureOf(probe((await server.place()).config(at(conversation, SHORT))))
      expect(error).toMatchObject({ code: 'TIMEOUT', retryable: true })
      await conversation.idle(2_000)
    })

    it('an idle connection that was reset is replaced inside the attempt', async () => {
      const conversation = await proxied()
      const place = await server.place()
      const message = alone()
      await deliver(place.config(at(conversation)), message)
      conversation.reset()
      // One that is reset in the very moment of the send costs an attempt; this one has had the time to notice.
      await new Promise((resolve) => setTimeout(resolve, 50))
      await deliver(place.config(at(conversation)), { ...message, attempt_number: 2 })
      await expectArrival(place, message, subject.repeat === 'one effect' ? 'once' : 'again')
    })

    it('an idle connection that went silent is replaced before it can do harm', async () => {
      const conversation = await proxied()
      const place = await server.place()
      const message = alone()
      const timeout = subject.unchecked ? SHORT : PATIENT
      await deliver(place.config(at(conversation, timeout)), message)
      conversation.freeze()
      const again = () => deliver(place.config(at(conversation, timeout)), { ...message, attempt_number: 2 })
      if (subject.unchecked) expect(await failureOf(again())).toMatchObject({ code: 'TIMEOUT', retryable: true })
      await again()
      await expectArrival(place, message, subject.repeat === 'one effect' ? 'once' : 'again')
    })

    it('a server restarted in the middle ends nothing but the attempts on it', async () => {
      const place = await server.place()
      const config = place.config(at(server))
      const tenant_id = randomUUID()
      await deliver(config, alone({ tenant_id }))
      let restarted = false
      const restarting = server.restart().then(() => {
        restarted = true
      })
      for (let sure = false; !sure; ) {
        sure = restarted
        const error = await deliver(config, alone({ tenant_id })).catch((reason: unknown) => reason)
        if (error instanceof Error) {
          expect(error).toMatchObject({ retryable: true })
          expect(sure).toBe(false)
        }
        await new Promise((resolve) => setTimeout(resolve, 50))
      }
      await restarting
    })

    it('a body of 1 MiB arrives whole', async () => {
      const place = await server.place()
      const body = Buffer.from(
        aMessage()
          .body.toString()
          .replace('{', `{"filler":"${'x'.repeat(1024 * 1024)}",`),
      )
      const message = alone({ body })
      await deliver(place.config(at(server)), message)
      await expectArrival(place, message, 'once')
    })

    it.each(NONSENSE)('a server that talks nonsense (%s) is retried, and left at once', async (_kind, speak) => {
      const strange = await startStrangeServer(speak)
      open.push(strange)
      const config = (await server.place()).config(at(strange, SHORT))
      for (const attempt of [() => deliver(config, alone()), () => probe(config)]) {
        const error = await failureOf(attempt())
        expect(['DESTINATION_UNAVAILABLE', 'TIMEOUT']).toContain(error.code)
        expect(error.retryable).toBe(true)
        await strange.idle()
      }
    })

    it('a server that accepts and says nothing ends with the deadline, for delivery and probe', async () => {
      const strange = await startStrangeServer(() => {})
      open.push(strange)
      const config = (await server.place()).config(at(strange, SHORT))
      for (const attempt of [() => deliver(config, alone()), () => probe(config)]) {
        expect(await failureOf(attempt())).toMatchObject({ code: 'TIMEOUT', retryable: true })
        await strange.idle()
      }
    })

    if (subject.tls) {
      /** The server with TLS, and one of the same kind without. */
      async function withTls(): Promise<{ server: Server; port: number }> {
        if (subject.tls === 'inside') {
          const secured = await subject.start({ tls: true })
          open.push(secured)
          return { server: secured, port: secured.port }
        }
        const front = await startTlsFront(server.port)
        open.push(front)
        return { server, port: front.port }
      }

      it('TLS: only a server with a certificate of a known authority, for its name, gets anything', async () => {
        const secured = await withTls()
        const place = await secured.server.place()
        const config = (tls: { ca?: string; server_name?: string }) => place.secured!(at(secured), tls)
        for (const tls of [{}, { ca: CERTIFICATE.ca, server_name: 'other.example' }]) {
          const expected = { code: 'DESTINATION_UNAVAILABLE', retryable: true }
          expect(await failureOf(deliver(config(tls), alone()))).toMatchObject(expected)
          expect(await failureOf(probe(config(tls)))).toMatchObject(expected)
        }
        expect(await place.arrived()).toEqual([])
        const message = alone()
        await deliver(config({ ca: CERTIFICATE.ca }), message)
        await probe(config({ ca: CERTIFICATE.ca }))
        await expectArrival(place, message, 'once')
      })

      it('TLS: a server that has none gets nothing, and no secret', async () => {
        const plain = await startStrangeServer((socket) => {
          const inner = connect(server.port, '127.0.0.1').on('error', () => {})
          socket.on('close', () => inner.destroy()).pipe(inner)
          inner.on('close', () => socket.destroy()).pipe(socket)
        })
        open.push(plain)
        const place = await server.place()
        const config = place.secured!(at(plain, SHORT), { ca: CERTIFICATE.ca })
        for (const attempt of [() => deliver(config, alone()), () => probe(config)]) {
          const error = await failureOf(attempt())
          expect(['DESTINATION_UNAVAILABLE', 'TIMEOUT', 'MISCONFIGURED']).toContain(error.code)
        }
        expect(await place.arrived()).toEqual([])
        expect(plain.total()).toBeGreaterThanOrEqual(2)
        expect(plain.heard().includes(SECRET)).toBe(false)
      })
    }

    it('every host of the configuration is kept from private addresses, for delivery and probe', async () => {
      const place = await server.place()
      const configs = [place.config(at(server)), ...(place.others?.(at(server)) ?? [])]
      const known = new Set<string>()
      const connected = reachedHosts(destination.config, configs[0]).map(({ host }) => host)
      expect(connected).toContain(destination.target(configs[0])?.host)
      for (const config of configs) {
        for (const { path, host } of reachedHosts(destination.config, config)) {
          if (known.has(path.join('.'))) continue
          known.add(path.join('.'))
          const moved = changed(config, path, (value) => value.replace(host, '10.0.0.8'))
          const denied = { code: 'EGRESS_DENIED', retryable: false }
          expect(await failureOf(deliver(moved, alone()))).toMatchObject(denied)
          expect(await failureOf(probe(moved))).toMatchObject(denied)
        }
      }
      const hosts = fieldsOf(destination.config).filter(({ host }) => host)
      expect([...known].toSorted()).toEqual(hosts.map(({ path }) => path).toSorted())
    })

    it('every secret of the configuration is masked, refused in an inline destination, and taken out of texts', async () => {
      const secrets = fieldsOf(destination.config).filter(({ secret }) => secret)
      expect(secrets).not.toEqual([])
      for (const { path, holding } of secrets) {
        const config = holding(SECRET)
        expect(findLiteralSecrets(destination.config, config), path).toHaveLength(1)
        expect(JSON.stringify(maskSecrets(destination.config, config)), path).not.toContain(SECRET)
        const echo = () =>
          Promise.reject(new DeliveryError('REJECTED', `not ${SECRET}`, { response: { status: 1, body: SECRET } }))
        const error = await failureOf(withoutSecrets(secretsIn(destination.config, config), echo, cleanReceipt))
        expect(`${error.message} ${error.response?.body}`, path).toBe('not *** ***')
      }
    })

    it('a field that is called like a secret is one', () => {
      const suspects = fieldsOf(destination.config).filter(({ path, text }) => text && LIKE_A_SECRET.test(path))
      const open = suspects.filter(({ secret }) => !secret).map(({ path }) => path)
      expect(open).toEqual(subject.notSecret ?? [])
    })

    it('its example is a valid configuration', () => {
      expect(destination.config.safeParse(destination.example).error).toBeUndefined()
    })

    it('no secret comes back, whatever happens', async () => {
      const place = await server.place()
      const cut = (await proxied({ at: 2, kind: 'cut' })).port
      const config = [place.config(at(server)), place.locked(at(server)), place.refused(at(server))]
      const outcomes = await Promise.all(
        [...config, place.config(at({ port: await refusedPort() })), place.config(at({ port: cut }))].flatMap(
          (each) => [
            deliver(each, alone()).catch((error: unknown) => error),
            probe(each).catch((error: unknown) => error),
          ],
        ),
      )
      expect(outcomes.filter((outcome) => outcome instanceof Error).length).toBeGreaterThanOrEqual(4)
      for (const outcome of outcomes) {
        const shown = inspect(outcome, { depth: 20, maxStringLength: null, maxArrayLength: null, getters: true })
        for (const secret of [SECRET, WRONG]) {
          const bytes = Buffer.from(secret)
          for (const spelling of [secret, bytes.toString('base64').slice(0, -4), spaced(bytes)]) {
            expect(shown).not.toContain(spelling)
          }
        }
      }
    })
  })
}

/** A copy with another text at `path`. */
function changed(value: unknown, [first, ...rest]: (string | number)[], change: (text: string) => string): unknown {
  if (first === undefined) return change(value as string)
  const fields = value as Record<string | number, unknown>
  return { ...fields, [first]: changed(fields[first], rest, change) }
}

/** As Node shows a buffer. */
function spaced(bytes: Buffer): string {
  return [...bytes.subarray(0, 8)].map((byte) => byte.toString(16).padStart(2, '0')).join(' ')
}
