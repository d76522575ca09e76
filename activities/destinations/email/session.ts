// One SMTP connection (RFC 5321): sends commands, reads replies, and starts TLS between them. The SMTP client of nodemailer,
// which composes our mails, is not used: it sends STARTTLS and AUTH even if the server did not offer them, accepts any 2xx
// reply (also to DATA), continues RCPT after the server has refused more recipients, and does not report the result for
// each recipient after a failure.
import type { ConnectionOptions } from 'node:tls'
import { DeliveryError } from '../errors.ts'
import type { GuardedConnection } from '../network/guarded.ts'
import { redact } from '../secrets/redaction/index.ts'
import { storable, storableText } from '../storable.ts'

/** The longest reply, and the most replies without a command. */
const MAX_REPLY_BYTES = 64 * 1024
const MAX_REPLIES = 100
/** How many characters of a reply are kept. */
const MAX_TEXT = 500

export interface Reply {
  code: number
  /** Storable, shortened, and without secrets. */
  text: string
  /** All lines as received, without their codes. */
  lines: string[]
}

export interface Session {
  /** The extensions in the last reply to EHLO: names in upper case, with their parameters. */
  extensions: Map<string, string>
  read(): Promise<Reply>
  command(line: string): Promise<Reply>
  /** Resolves when the bytes have left this process. */
  write(bytes: Buffer): Promise<void>
  /** Starts TLS; resolves when the server's certificate has been verified. */
  secure(options: ConnectionOptions): Promise<void>
  /** The local address of the connection. */
  localAddress(): string | undefined
  /** Ends the connection at once. */
  destroy(): void
  /** Sends QUIT and closes the connection, without waiting for the answer. */
  quit(): void
}

/** @param secrets are removed from the texts of replies, because some servers repeat what they received */
export function createSession(connection: GuardedConnection, secrets: readonly string[]): Session {
  let rest = ''
  let size = 0
  let lines: { code: string; text: string }[] = []
  const replies: Reply[] = []
  const waiting: ((reply: Reply) => void)[] = []

  function notSmtp(why: string): unknown {
    return connection.end(new DeliveryError('DESTINATION_UNAVAILABLE', `the server's reply is not valid SMTP: ${why}`))
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
    if (replies.length > MAX_REPLIES) notSmtp('there was no command for it')
  }

  async function read(): Promise<Reply> {
    return replies.shift() ?? connection.orLost(new Promise<Reply>((resolve) => waiting.push(resolve)))
  }

  connection.socket.on('data', take)
  const session: Session = {
    extensions: new Map(),
    read,
    async command(line) {
      // A value that was filled in must not add a command.
      if (/[\r\n\0]/.test(line)) throw new Error('an SMTP command of several lines')
      const early = replies.shift()
      // RFC 5321, 3.8: 421 may come at any time. Any other early reply could be mistaken for the reply to this command.
      if (early?.code === 421) return early
      if (early) notSmtp('there was no command for it')
      const ended = connection.reason()
      if (ended !== undefined) throw ended
      connection.socket.write(`${line}\r\n`)
      return read()
    },
    // The connection reports a write that failed.
    write: (bytes) =>
      connection.orLost(new Promise((resolve) => connection.socket.write(bytes, (error) => error ?? resolve()))),
    async secure(options) {
      // RFC 3207, 6: data before TLS may come from an attacker, and must not be used as a reply after it.
      if (replies.length > 0 || rest !== '' || lines.length > 0)
        throw notSmtp('there is data after the reply to STARTTLS')
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

/** Drops an incomplete character at the end, which PostgreSQL's jsonb refuses. */
export function cutText(text: string, max: number): string {
  return storable(text.slice(0, max))
}
