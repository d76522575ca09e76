// One SMTP connection (RFC 5321): sends commands, reads replies, and changes to TLS between them. The SMTP client of
// nodemailer, which writes our mails, is not used here. Seen against a scripted server, it sends STARTTLS and AUTH that
// the server did not offer, takes any reply that begins with 2 for consent (to DATA, too), cannot stop naming recipients
// when the server has enough, and after a failure does not say what became of each recipient.
import type { ConnectionOptions } from 'node:tls'
import { DeliveryError } from '../errors.ts'
import type { GuardedConnection } from '../network/guarded.ts'
import { redact } from '../secrets/redaction/index.ts'
import { storable, storableText } from '../storable.ts'

/** The longest reply, and the most replies that nobody waits for; more is not SMTP. */
const MAX_REPLY_BYTES = 64 * 1024
const MAX_REPLIES = 100
/** How much of a reply's text is kept. */
const MAX_TEXT = 500

export interface Reply {
  code: number
  /** Storable, shortened, and without our secrets. */
  text: string
  /** All lines as they came, without their codes. */
  lines: string[]
}

export interface Session {
  /** What the server offered in its last reply to EHLO: names in upper case, with their parameters. */
  extensions: Map<string, string>
  read(): Promise<Reply>
  command(line: string): Promise<Reply>
  /** Resolves when the bytes have left this process. */
  write(bytes: Buffer): Promise<void>
  /** Starts TLS; resolves when the server's certificate has been verified. */
  secure(options: ConnectionOptions): Promise<void>
  /** The address of our end of the connection. */
  localAddress(): string | undefined
  /** Ends the connection at once. */
  destroy(): void
  /** Sends QUIT and closes the connection, without waiting for the answer. */
  quit(): void
}

/** @param secrets are removed from the texts of replies, for some servers repeat what they received */
export function createSession(connection: GuardedConnection, secrets: readonly string[]): Session {
  let rest = ''
  let size = 0
  let lines: { code: string; text: string }[] = []
  const replies: Reply[] = []
  const waiting: ((reply: Reply) => void)[] = []

  function notSmtp(why: string): unknown {
    return connection.end(
      new DeliveryError('DESTINATION_UNAVAILABLE', `the server's reply could not be read as SMTP: ${why}`),
    )
  }

  function take(chunk: Buffer): void {
    size += chunk.length
    if (size > MAX_REPLY_BYTES) {
      notSmtp('it is too long')
      return
    }
    const parts = (rest + chunk.toString('latin1')).split('\n')
    rest = parts.pop()!
    for (const part of parts) {
      const match = /^([2-5]\d\d)(?:([ -])(.*))?$/s.exec(part.replace(/\r$/, ''))
      if (!match || (lines[0] && lines[0].code !== match[1])) {
        notSmtp('it has no reply code, or more than one')
        return
      }
      lines.push({ code: match[1]!, text: match[3] ?? '' })
      if (match[2] !== '-') complete()
    }
  }

  function complete(): void {
    const texts = lines.map((line) => line.text)
    const reply = { code: Number(lines[0]!.code), text: readable(texts.join('\n'), secrets), lines: texts }
    lines = []
    size = rest.length
    const next = waiting.shift()
    if (next) next(reply)
    else replies.push(reply)
    if (replies.length > MAX_REPLIES) notSmtp('no command asked for it')
  }

  async function read(): Promise<Reply> {
    return replies.shift() ?? connection.orLost(new Promise<Reply>((resolve) => waiting.push(resolve)))
  }

  connection.socket.on('data', take)
  const session: Session = {
    extensions: new Map(),
    read,
    async command(line) {
      // Whatever was filled in: one command is one line.
      if (/[\r\n\0]/.test(line)) throw new Error('an SMTP command of several lines')
      const unasked = replies.shift()
      // RFC 5321, 3.8: 421 may come at any time. Another one would be taken for the reply to this command.
      if (unasked?.code === 421) return unasked
      if (unasked) notSmtp('no command asked for it')
      const ended = connection.reason()
      if (ended !== undefined) throw ended
      connection.socket.write(`${line}\r\n`)
      return read()
    },
    // The connection reports a write that failed.
    write: (bytes) =>
      connection.orLost(new Promise((resolve) => connection.socket.write(bytes, (error) => error ?? resolve()))),
    async secure(options) {
      // RFC 3207, 6: what came before TLS may be an attacker's, and must not be taken for a reply after it.
      if (replies.length > 0 || rest !== '' || lines.length > 0) throw notSmtp('it goes on after the reply to STARTTLS')
      connection.socket.off('data', take)
      const socket = await connection.secure(options)
      socket.on('data', take)
      session.extensions = new Map()
    },
    localAddress: () => connection.socket.localAddress,
    destroy: connection.destroy,
    quit() {
      const { socket } = connection
      if (!socket.destroyed) socket.write('QUIT\r\n')
      socket.destroySoon()
    },
  }
  return session
}

function readable(latin1: string, secrets: readonly string[]): string {
  const text = storableText(Buffer.from(latin1, 'latin1')).replaceAll('\r', ' ')
  return cutText(redact(text, secrets), MAX_TEXT)
}

/** Leaves out half a character at the cut: PostgreSQL's jsonb refuses it, at every attempt. */
export function cutText(text: string, max: number): string {
  return storable(text.slice(0, max))
}
