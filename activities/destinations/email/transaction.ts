// One mail over one connection: MAIL, RCPT for each recipient, DATA; repeated for recipients that the server does not accept
// in the same transaction. Each outcome is recorded at once, so that it is known even if the connection breaks.
import { LIMITS } from '../../../db/limits.ts'
import { DeliveryError } from '../errors.ts'
import type { Attempt } from '../network/deadline.ts'
import type { RecipientLimit } from './recipient-limit.ts'
import { isPositive, isRefused, mayMeanTooMany, replyFailure, saysTooMany } from './replies.ts'
import { cutText, type Reply, type Session } from './session.ts'

/**
 * `unknown`: the whole mail was sent, and no reply came. `deferred`: the server replied 4xx, or the connection broke before
 * the reply for this recipient.
 */
export type RecipientStatus = 'accepted' | 'refused' | 'deferred' | 'unknown'

/** RFC 5321, 3.8: the server closes the connection. */
const CLOSES = 421

const PIECE_BYTES = 256 * 1024

/** Short, because it is stored twice for each of up to a hundred recipients. */
const MAX_REPLY = 200

/** The outcome for one recipient. */
export interface Outcome {
  address: string
  status: RecipientStatus
  /** The reply that decided; null if none came. */
  code: number | null
  reply: string | null
  /** The attempt that had this outcome. */
  attempt: number
}

/** The state of one attempt. It is read after the attempt, even if that failed. */
export interface Sending {
  /** The server has replied to MAIL. */
  began: boolean
  outcomes(): Outcome[]
  /** The server has not refused or deferred the mail as a whole. */
  perRecipient(): boolean
  /** Starts a transaction; the outcomes of earlier ones stay. */
  begin(): void
  /** Records the reply to the mail: a 2xx for the recipients of this transaction, others for all without an outcome. */
  decided(reply: Reply): void
  answered(address: string, reply: Reply): void
  /** Records recipients that need another transaction, because the server accepts no more in this one. */
  postponed(addresses: readonly string[], reply: Reply): void
  /** Call before the last byte: from now on, the mail may be accepted even if no reply comes. */
  ended(): void
  /** The recipients of this transaction that the server has accepted. */
  waiting(): string[]
}

export function createSending(addresses: readonly string[], attempt: number): Sending {
  const decisions = new Map<string, Reply>()
  const postponed = new Map<string, Reply>()
  const accepted = new Set<string>()
  let perRecipient = true
  let isSent = false
  return {
    began: false,
    begin() {
      accepted.clear()
      isSent = false
    },
    decided(reply) {
      if (!isPositive(reply.code)) perRecipient = false
      for (const address of isPositive(reply.code) ? accepted : addresses) {
        if (!decisions.has(address)) decisions.set(address, reply)
      }
    },
    answered(address, reply) {
      if (isPositive(reply.code)) accepted.add(address)
      else decisions.set(address, reply)
    },
    postponed(some, reply) {
      for (const address of some) {
        accepted.delete(address)
        postponed.set(address, reply)
      }
    },
    ended() {
      isSent = true
    },
    waiting: () => addresses.filter((address) => accepted.has(address)),
    perRecipient: () => perRecipient,
    outcomes: () =>
      addresses.map((address) => {
        const decision = decisions.get(address)
        const unanswered = accepted.has(address) && isSent
        const reply = decision ?? (unanswered ? undefined : postponed.get(address))
        return {
          address,
          status: decision ? statusOf(decision) : unanswered ? 'unknown' : 'deferred',
          code: reply?.code ?? null,
          reply: reply ? cutText(reply.text, MAX_REPLY) : null,
          attempt,
        }
      }),
  }
}

function statusOf(reply: Reply): RecipientStatus {
  if (isPositive(reply.code)) return 'accepted'
  return isRefused(reply.code) && !saysTooMany(reply) ? 'refused' : 'deferred'
}

export interface Mail {
  /** Envelope sender, which gets bounces. */
  sender: string
  recipients: readonly string[]
  /** Lines end with CRLF, all in ASCII. */
  bytes: Buffer
}

/**
 * Sends to all recipients, in as many transactions as the server needs. `sending` then contains the outcomes. The connection
 * can be used again unless it was ended.
 * @returns the recipients that need another connection, because the server accepts no more on this one
 * @throws DeliveryError when the mail is larger than the server accepts, or when the connection fails
 */
export async function transact(
  session: Session,
  attempt: Attempt,
  mail: Mail,
  sending: Sending,
  limit: RecipientLimit,
): Promise<readonly string[]> {
  const largest = Number(session.extensions.get('SIZE') ?? 0)
  // RFC 1870: 0 means no fixed limit.
  if (largest > 0 && mail.bytes.length > largest) {
    throw new DeliveryError(
      'REJECTED',
      `the mail has ${mail.bytes.length} bytes; the server accepts at most ${largest}`,
    )
  }
  let left: Left = { recipients: mail.recipients, connection: 'same' }
  for (let transaction = 1; left.recipients.length > 0; transaction += 1) {
    if (left.connection === 'new') {
      session.quit()
      return left.recipients
    }
    if (transaction > LIMITS.smtpTransactions.value) break
    const { recipients } = left
    left = await transactOnce(session, attempt, { ...mail, recipients }, sending, limit, transaction === 1)
  }
  return []
}

/** The recipients that need another transaction, and on which connection. */
interface Left {
  recipients: readonly string[]
  connection: 'same' | 'new'
}

const NONE: Left = { recipients: [], connection: 'same' }

async function transactOnce(
  session: Session,
  attempt: Attempt,
  mail: Mail,
  sending: Sending,
  limit: RecipientLimit,
  isFirst: boolean,
): Promise<Left> {
  // After an accepted transaction, such a refusal concerns the connection, because the server has just accepted the same mail.
  const reconnect = (reply: Reply): Left => {
    sending.postponed(mail.recipients, reply)
    return { recipients: mail.recipients, connection: 'new' }
  }
  const size = session.extensions.has('SIZE') ? ` SIZE=${mail.bytes.length}` : ''
  attempt.expect('answer MAIL FROM')
  const from = await session.command(`MAIL FROM:<${mail.sender}>${size}`)
  sending.began = true
  sending.begin()
  if (!isPositive(from.code)) {
    if (!isFirst && (isRefused(from.code) || from.code === CLOSES)) return reconnect(from)
    sending.decided(from)
    return NONE
  }
  const named = await nameRecipients(session, attempt, mail.recipients, sending, limit, isFirst)
  if (!Array.isArray(named)) {
    if (!isFirst) return reconnect(named)
    sending.decided(named)
    return NONE
  }
  const rest: readonly string[] = named
  if (sending.waiting().length === 0) return NONE
  attempt.expect('answer DATA')
  const data = await session.command('DATA')
  if (data.code < 400 && data.code !== 354) throw replyFailure(data, 'DATA')
  const answer = data.code === 354 ? await sendContent(session, attempt, mail.bytes, sending) : data
  const waiting = sending.waiting()
  if (saysTooMany(answer) && waiting.length > 1) {
    // This reply does not show the limit, so the next transaction has half as many recipients.
    limit.remember(Math.floor(waiting.length / 2))
    sending.postponed([...waiting, ...rest], answer)
    attempt.expect('answer RSET')
    const reset = await session.command('RSET')
    return isPositive(reset.code) ? { recipients: [...waiting, ...rest], connection: 'same' } : NONE
  }
  sending.decided(answer)
  return isPositive(answer.code) ? { recipients: rest, connection: 'same' } : NONE
}

/** @returns the recipients that need another transaction, or a reply that refuses all of them on this connection */
async function nameRecipients(
  session: Session,
  attempt: Attempt,
  recipients: readonly string[],
  sending: Sending,
  limit: RecipientLimit,
  isFirst: boolean,
): Promise<string[] | Reply> {
  for (const [at, address] of recipients.entries()) {
    const named = sending.waiting().length
    if (named >= limit.most()) return recipients.slice(at)
    attempt.expect('answer RCPT TO')
    const reply = await session.command(`RCPT TO:<${address}>`)
    // It applies to all remaining recipients.
    if (reply.code === CLOSES) return reply
    if (!isFirst && at === 0 && saysTooMany(reply)) return reply
    if (named > 0 && mayMeanTooMany(reply)) {
      limit.suspect(named, address, saysTooMany(reply))
      sending.postponed(recipients.slice(at), reply)
      return recipients.slice(at)
    }
    if (isPositive(reply.code)) limit.confirm(address)
    sending.answered(address, reply)
  }
  return []
}

/** Sends the mail itself, and returns the server's reply to it. */
async function sendContent(session: Session, attempt: Attempt, bytes: Buffer, sending: Sending): Promise<Reply> {
  attempt.expect('accept the bytes of the mail')
  const answer = session.read()
  answer.catch(() => {})
  for (const piece of stuffed(bytes)) {
    const early = await Promise.race([answer, session.write(piece).then(() => undefined)])
    if (!early) continue
    // After a reply before the end of the mail, it is unknown how the server would read the rest.
    session.destroy()
    if (early.code < 400) throw replyFailure(early, 'an incomplete mail')
    return early
  }
  attempt.expect('confirm the mail')
  sending.ended()
  await session.write(Buffer.from('.\r\n'))
  return await answer
}

/**
 * Dot-stuffing (RFC 5321, 4.5.2): a line that begins with a dot gets another dot; the last line ends with CRLF. The pieces
 * are whole lines, so that a mail of many megabytes is not copied as a whole.
 */
function* stuffed(bytes: Buffer): Generator<Buffer> {
  for (let from = 0; from < bytes.length; ) {
    const after = bytes.indexOf('\n', from + PIECE_BYTES) + 1
    const to = after > 0 ? after : bytes.length
    const text = bytes.toString('latin1', from, to)
    // Some servers read a lone CR or LF as a line end, others do not; it could hide a second mail (SMTP smuggling).
    if (/\r(?!\n)|(?<!\r)\n/.test(text)) throw new Error('a mail with a lone CR or LF')
    const whole = text.endsWith('\r\n') ? text : `${text}\r\n`
    yield Buffer.from(whole.replace(/^\./gm, '..'), 'latin1')
    from = to
  }
}
