// One mail over one connection: MAIL, RCPT for each recipient, DATA. What each of them came to is written down as it
// comes, so that it is known also when the connection breaks.
import type { Attempt } from '../deadline.ts'
import { DeliveryError } from '../errors.ts'
import { isRefused, isTaken, replyFailure } from './replies.ts'
import { cutText, type Reply, type Session } from './session.ts'

/**
 * `unknown`: the whole mail was sent, and no answer came. `deferred`: put off by the server, or not reached before the
 * connection broke.
 */
export type RecipientStatus = 'accepted' | 'refused' | 'deferred' | 'unknown'

const PIECE_BYTES = 256 * 1024

/** Kept twice for each of up to a hundred recipients. */
const MAX_REPLY = 200

/** What became of one recipient. */
export interface Outcome {
  address: string
  status: RecipientStatus
  /** The reply that decided; null when none came. */
  code: number | null
  reply: string | null
  /** The attempt in which it came to this. */
  attempt: number
}

/** The state of one attempt to send, to be read when it is over, in whatever way. */
export interface Sending {
  /** The server has begun to decide about this mail. */
  began: boolean
  outcomes(): Outcome[]
  /** Nothing was decided against the mail as a whole. */
  singly(): boolean
  /** The reply that decides about everybody who has no refusal of his own. */
  decided(reply: Reply): void
  answered(address: string, reply: Reply): void
  /** The last byte is on its way: from here on silence may mean that the mail was taken. */
  ended(): void
  /** Those that wait for the mail itself. */
  waiting(): string[]
}

export function createSending(addresses: readonly string[], attempt: number): Sending {
  const replies = new Map<string, Reply>()
  let final: Reply | undefined
  let isSent = false
  const pending = (address: string) => isTaken(replies.get(address)?.code ?? 0)
  return {
    began: false,
    decided(reply) {
      final = reply
    },
    answered: (address, reply) => replies.set(address, reply),
    ended() {
      isSent = true
    },
    waiting: () => addresses.filter(pending),
    singly: () => final === undefined || isTaken(final.code),
    outcomes: () =>
      addresses.map((address) => {
        const own = replies.get(address)
        const reply = own && !isTaken(own.code) ? own : final
        return {
          address,
          status: reply ? statusOf(reply.code) : own && isSent ? 'unknown' : 'deferred',
          code: reply?.code ?? null,
          reply: reply ? cutText(reply.text, MAX_REPLY) : null,
          attempt,
        }
      }),
  }
}

function statusOf(code: number): RecipientStatus {
  if (isTaken(code)) return 'accepted'
  return isRefused(code) ? 'refused' : 'deferred'
}

export interface Mail {
  /** Envelope sender, for bounces. */
  sender: string
  recipients: readonly string[]
  /** Lines end with CRLF, all in ASCII. */
  bytes: Buffer
}

/**
 * Sends once. Returns when the server has decided, well or badly: `sending` says how. The connection can be used again
 * unless it was ended.
 * @throws DeliveryError when the mail is larger than the server takes; what the network did
 */
export async function transact(session: Session, attempt: Attempt, mail: Mail, sending: Sending): Promise<void> {
  const limit = Number(session.extensions.get('SIZE') ?? 0)
  // RFC 1870: 0 says that there is no fixed limit.
  if (limit > 0 && mail.bytes.length > limit) {
    throw new DeliveryError(
      'REJECTED',
      `the mail has ${mail.bytes.length} bytes, and the server takes at most ${limit}`,
    )
  }
  const size = session.extensions.has('SIZE') ? ` SIZE=${mail.bytes.length}` : ''
  attempt.expect('answer MAIL FROM')
  const from = await session.command(`MAIL FROM:<${mail.sender}>${size}`)
  sending.began = true
  if (!isTaken(from.code)) return sending.decided(from)
  for (const address of mail.recipients) {
    attempt.expect('answer RCPT TO')
    const reply = await session.command(`RCPT TO:<${address}>`)
    // The server hangs up: this is its answer for all that are left.
    if (reply.code === 421) return sending.decided(reply)
    sending.answered(address, reply)
  }
  if (sending.waiting().length === 0) return
  attempt.expect('answer DATA')
  const data = await session.command('DATA')
  if (data.code < 400 && data.code !== 354) throw replyFailure(data, 'DATA')
  if (data.code !== 354) return sending.decided(data)
  attempt.expect('take the mail')
  const answer = session.read()
  answer.catch(() => {})
  for (const piece of stuffed(mail.bytes)) {
    const early = await Promise.race([answer, session.write(piece).then(() => undefined)])
    if (!early) continue
    // It did not wait for the end, and what it makes of the rest nobody knows.
    session.destroy()
    if (early.code < 400) throw replyFailure(early, 'a mail that had not ended')
    return sending.decided(early)
  }
  attempt.expect('confirm the mail')
  sending.ended()
  await session.write(Buffer.from('.\r\n'))
  sending.decided(await answer)
}

/**
 * RFC 5321, 4.5.2: a line that begins with a dot gets another one; the last line ends with CRLF. In pieces of whole lines,
 * for a hundred mails of many megabytes may be under way, and none is to be held twice.
 */
function* stuffed(bytes: Buffer): Generator<Buffer> {
  for (let from = 0; from < bytes.length; ) {
    const after = bytes.indexOf('\n', from + PIECE_BYTES) + 1
    const to = after > 0 ? after : bytes.length
    const text = bytes.toString('latin1', from, to)
    // A lone CR or LF means a line to some servers and not to others: the way to smuggle in a second mail.
    if (/\r(?!\n)|(?<!\r)\n/.test(text)) throw new Error('a mail with a lone CR or LF')
    const whole = text.endsWith('\r\n') ? text : `${text}\r\n`
    yield Buffer.from(whole.replace(/^\./gm, '..'), 'latin1')
    from = to
  }
}
