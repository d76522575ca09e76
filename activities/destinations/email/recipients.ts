// Which recipients still need the mail, and the result of an attempt for the delivery.
import { z } from 'zod'
import type { Message, Receipt } from '../destination.ts'
import { DeliveryError, type Response } from '../errors.ts'
import { codeFor, isRefused } from './replies.ts'
import type { Outcome } from './transaction.ts'

const progressSchema = z.object({
  round: z.number(),
  recipients: z.array(
    z.object({
      address: z.string(),
      status: z.enum(['accepted', 'refused', 'deferred', 'unknown']),
      code: z.number().nullable(),
      reply: z.string().nullable(),
      attempt: z.number(),
    }),
  ),
})

/** The outcomes of earlier attempts of the delivery, by address. */
export type Earlier = ReadonlyMap<string, Outcome>

/**
 * The recipients that need no further attempt: they have the mail, or the server refused them permanently in this round. A
 * manual retry also sends to refused recipients, because the mailbox may exist by now.
 */
export function settledBefore(message: Message): Earlier {
  const progress = progressSchema.safeParse(message.progress)
  if (!progress.success) return new Map()
  const { round, recipients } = progress.data
  const settled = recipients.filter(
    ({ status }) => status === 'accepted' || (status === 'refused' && round === (message.round ?? 1)),
  )
  return new Map(settled.map((outcome) => [outcome.address, outcome]))
}

/** All outcomes after an attempt; an earlier outcome stays if this attempt has none for the recipient. */
function merged(earlier: Earlier, outcomes: readonly Outcome[]): Outcome[] {
  return [...new Map([...earlier, ...outcomes.map((outcome) => [outcome.address, outcome] as const)]).values()]
}

export interface Attempted {
  message: Message
  message_id: string
  /** All recipients of the mail. */
  recipients: readonly string[]
  earlier: Earlier
  /** The outcomes of this attempt. */
  outcomes: readonly Outcome[]
  /** The server works: it accepted or refused single recipients, and did not defer the mail as a whole. */
  perRecipient: boolean
}

/** The metadata of the attempt's row, and the progress for the next attempt. */
export function recorded({ message, message_id, recipients, earlier, outcomes }: Attempted) {
  const all = merged(earlier, outcomes)
  const shown = recipients.flatMap((address) => all.find((outcome) => outcome.address === address) ?? [])
  return {
    metadata: {
      message_id,
      recipients: shown,
      ...(shown.some(({ status }) => status === 'unknown') && { outcome: 'unknown' }),
    },
    progress: { round: message.round ?? 1, recipients: all },
  }
}

/**
 * Succeeds when every recipient has the mail after this or an earlier attempt. Deferred recipients are retried, and only
 * they. When none is deferred and one was refused, the failure is final.
 */
export function settle(attempted: Attempted): Receipt {
  const { metadata, progress } = recorded(attempted)
  const { recipients } = metadata
  const open = recipients.filter(({ status }) => status === 'deferred' || status === 'unknown')
  const refused = recipients.filter(({ status }) => status === 'refused')
  if (open.length === 0 && refused.length === 0) return { ...answerOf(attempted.outcomes.at(-1)), metadata }
  const decisive = open.length > 0 ? open : refused
  const codes = [...new Set(decisive.map(({ code }) => code).filter((code) => code !== null))]
  const meanings = new Set(codes.map((code) => (open.length > 0 && isRefused(code) ? 'THROTTLED' : codeFor(code))))
  const code =
    meanings.size === 1
      ? [...meanings][0]!
      : open.length > 0
        ? ('DESTINATION_UNAVAILABLE' as const)
        : ('REJECTED' as const)
  const what = open.length > 0 ? 'deferred' : 'refused'
  // A reply of this attempt; those of earlier attempts are in the metadata.
  const response = answerOf(decisive.find((each) => attempted.outcomes.includes(each)) ?? attempted.outcomes.at(-1))
  throw new DeliveryError(
    code,
    `the server ${what} ${decisive.length} of ${recipients.length} recipients (${codes.join(', ')})`,
    { response, metadata, progress, answered: attempted.perRecipient },
  )
}

function answerOf(outcome: Outcome | undefined): Response {
  return { status: outcome?.code ?? null, body: outcome?.reply ?? null }
}
