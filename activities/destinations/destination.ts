// The one shape of a destination: a schema and two functions. No retry, no logging and no row of ours in there:
// `deliver.ts` does that once for all protocols.
import type { z } from 'zod'
import type { Protocol } from '../../db/states.ts'
import type { Response } from './errors.ts'
import type { Egress } from './network/egress.ts'
import type { Target } from './network/target.ts'
import { type Resolved, secretsIn } from './secrets/secret.ts'
import { cleanReceipt, withoutSecrets } from './secrets/without-secrets.ts'

/** What is to be delivered, and the words that placeholders may use. */
export interface Message {
  tenant_id: string
  distribution_id: string
  data_type: string
  /** Stays over attempts and ordinary retries: the receiver's key to tell a repeat. */
  delivery_id: string
  attempt_number: number
  /**
   * An earlier attempt was made under this `delivery_id`: what had succeeded is sent again under a new one. Where this is
   * left out, every attempt after the first is a repeat.
   */
  is_repeat?: boolean
  /** The exact accepted bytes, or what shaping made of them; never an envelope. */
  body: Buffer
  content_type: string
  /** The accepted bytes, where `body` was shaped: placeholders read the payload as it was submitted. */
  source?: Buffer | undefined
  /** `gzip` compresses the body on the wire where the protocol allows it. */
  compression: 'none' | 'gzip'
  /** Counts from 1; a retry by hand begins the next one. */
  round?: number
  /** The `progress` of the last failed attempt under this `delivery_id` that had one. */
  progress?: unknown
}

/** Proof of one successful send. */
export interface Receipt extends Response {
  /** Further facts worth keeping in the attempt's metadata (message id, object version …); never a secret. */
  metadata?: Record<string, unknown>
}

/** What the outside world needs to be reached by: passed in, so that no destination reads settings. */
export interface Surroundings {
  egress: Egress
}

/** What a protocol itself is given. */
export interface Inside extends Surroundings {
  /** For a secret that the configuration does not hold, such as an access token: it is taken out of all that comes back. */
  conceal(secret: string): void
}

/** How deliveries of a protocol are tried again where nothing else is said. */
export interface RetryDefaults {
  /** Before the first retry, the second …; the last one stays. */
  delays_seconds: readonly number[]
  /** The life of a distribution whose submission states none: the usual number of retries must fit into it. */
  life_seconds: number
}

/** What the documentation says about a protocol, as Markdown. */
export interface Documentation {
  /** What counts as delivered. */
  delivered: string
  /** How the receiver recognises a repeat. */
  repeat: string
  /** Which failures are retried. */
  again: string
  /** Which failures are final. */
  final: string
}

export interface Destination<Config extends z.ZodType = z.ZodType> {
  protocol: Protocol
  config: Config
  /** A valid configuration, for the documentation. Its secrets come from the credential that it names. */
  example: Record<string, unknown>
  documentation: Documentation
  /** The protocol can tell the receiver that a body is compressed: it takes `options.compression` "gzip". */
  gzip: boolean
  /** Left out: the delays begin with a second and double, and a distribution lives for five minutes unless told otherwise. */
  retries?: RetryDefaults
  /**
   * The server that is connected to, read from the configuration in the way that `deliver` does. What the schema accepts
   * has one.
   */
  target(config: z.output<Config>): Target | undefined
  /** The longest time that `deliver` takes. The configuration is as it is stored: defaults are not filled in. */
  deadlineMs(config: z.input<Config>): number
  /** What is made of JSON, such as "rows are made of JSON", so that a shape may make nothing else. As it is stored, too. */
  needsJson?(config: z.input<Config>): string | undefined
  /**
   * Sends once. `signal` aborts the socket (cancel, lost worker); the configuration's own `timeout_seconds` is one
   * deadline from connect to last byte, kept in here.
   * @throws DeliveryError with a code that says what will happen next; rethrows `signal.reason` when aborted.
   */
  deliver(
    config: Resolved<z.output<Config>>,
    message: Message,
    signal: AbortSignal,
    surroundings: Surroundings,
  ): Promise<Receipt>
  /** Connects, authenticates where the protocol can without side effect, disconnects. Throws a DeliveryError. */
  probe(config: Resolved<z.output<Config>>, signal: AbortSignal, surroundings: Surroundings): Promise<void>
}

/** A protocol as it is written: what it answers and throws may still quote its secrets. */
export interface Protocolled<Config extends z.ZodType> extends Omit<Destination<Config>, 'deliver' | 'probe'> {
  deliver(config: Resolved<z.output<Config>>, message: Message, signal: AbortSignal, inside: Inside): Promise<Receipt>
  probe(config: Resolved<z.output<Config>>, signal: AbortSignal, inside: Inside): Promise<void>
}

/** No secret of the configuration leaves a destination, whatever the other side echoes, in an answer or in an error. */
export function defineDestination<Config extends z.ZodType>(protocol: Protocolled<Config>): Destination<Config> {
  return {
    ...protocol,
    deliver: (config, message, signal, surroundings) =>
      withoutSecrets(
        secretsIn(protocol.config, config),
        (conceal) => protocol.deliver(config, message, signal, { ...surroundings, conceal }),
        cleanReceipt,
      ),
    probe: (config, signal, surroundings) =>
      withoutSecrets(secretsIn(protocol.config, config), (conceal) =>
        protocol.probe(config, signal, { ...surroundings, conceal }),
      ),
  }
}
