// What every protocol is made of: a schema, a few facts and two functions. A protocol does not retry, does not log and does
// not touch the Distributor's tables: `deliver.ts` does that for all of them.
import type { z } from 'zod'
import type { Protocol } from '../../db/states.ts'
import type { Response } from './errors.ts'
import type { Egress } from './network/egress.ts'
import type { Target } from './network/target.ts'
import { type Resolved, secretsIn } from './secrets/secret.ts'
import { cleanReceipt, withoutSecrets } from './secrets/without-secrets.ts'

/** What is delivered, and the values of placeholders. */
export interface Message {
  tenant_id: string
  distribution_id: string
  data_type: string
  /** The same for all attempts and ordinary retries, so that the receiver can recognise a repeat. */
  delivery_id: string
  attempt_number: number
  /**
   * An earlier attempt was made under this `delivery_id`. (A delivery that succeeded is sent again under a new one.) If this is
   * left out, every attempt after the first is a repeat.
   */
  is_repeat?: boolean
  /** The payload exactly as it was accepted, or what shaping made of it. Nothing is wrapped around it. */
  body: Buffer
  content_type: string
  /** The payload as it was accepted, if `body` was shaped: placeholders read this one. */
  source?: Buffer | undefined
  /** `gzip` compresses the body on the wire. Only protocols with `gzip: true` are asked to. */
  compression: 'none' | 'gzip'
  /** Counts from 1; a manual retry starts the next one. */
  round?: number
  /** The `progress` of the last failed attempt under this `delivery_id` that had one. */
  progress?: unknown
}

/** Proof of one successful send. */
export interface Receipt extends Response {
  /** More facts for the attempt's metadata, such as a message id or an object version. Never a secret. */
  metadata?: Record<string, unknown>
}

/** The way to the network. It is passed in, so that no destination reads settings. */
export interface EgressContext {
  egress: Egress
}

/** What a protocol gets. */
export interface Context extends EgressContext {
  /** Removes a secret that is not in the configuration, such as an access token, from receipts and errors. */
  conceal(secret: string): void
}

/** How deliveries of a protocol are retried if the destination does not say otherwise. */
export interface RetryDefaults {
  /** The delay before the first retry, the second and so on. The last one repeats. */
  delays_seconds: readonly number[]
  /** The default lifetime of a distribution. The default number of retries must fit into it. */
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
  /** Default: the delays start with one second and double, and the lifetime of a distribution is five minutes. */
  retries?: RetryDefaults
  /**
   * The server that `deliver` connects to. Limits, circuits and slots are counted by it. Every configuration that the schema
   * accepts has one.
   */
  target(config: z.output<Config>): Target | undefined
  /** The longest time that `deliver` may take. The configuration is the stored one, without defaults. */
  deadlineMs(config: z.input<Config>): number
  /** Why the payload must be JSON, such as "rows are made from JSON"; a shape must then produce JSON. The configuration is the stored one. */
  needsJson?(config: z.input<Config>): string | undefined
  /**
   * Sends once, and ends within `deadlineMs`. When `signal` fires (cancelled, worker lost) it closes the connection at once.
   * @throws DeliveryError whose code decides what happens next; `signal.reason` when aborted
   */
  deliver(
    config: Resolved<z.output<Config>>,
    message: Message,
    signal: AbortSignal,
    context: EgressContext,
  ): Promise<Receipt>
  /** Connects, logs in if the protocol can do that without a side effect, and disconnects. Throws a DeliveryError. */
  probe(config: Resolved<z.output<Config>>, signal: AbortSignal, context: EgressContext): Promise<void>
}

/** A protocol as its folder writes it: its receipts and errors may still contain secrets. */
export interface ProtocolDefinition<Config extends z.ZodType> extends Omit<Destination<Config>, 'deliver' | 'probe'> {
  deliver(config: Resolved<z.output<Config>>, message: Message, signal: AbortSignal, context: Context): Promise<Receipt>
  probe(config: Resolved<z.output<Config>>, signal: AbortSignal, context: Context): Promise<void>
}

/** Makes a destination that never returns or throws a secret of its configuration, even if the server repeats one. */
export function defineDestination<Config extends z.ZodType>(protocol: ProtocolDefinition<Config>): Destination<Config> {
  return {
    ...protocol,
    deliver: (config, message, signal, context) =>
      withoutSecrets(
        secretsIn(protocol.config, config),
        (conceal) => protocol.deliver(config, message, signal, { ...context, conceal }),
        cleanReceipt,
      ),
    probe: (config, signal, context) =>
      withoutSecrets(secretsIn(protocol.config, config), (conceal) =>
        protocol.probe(config, signal, { ...context, conceal }),
      ),
  }
}
