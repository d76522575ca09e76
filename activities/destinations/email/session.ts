// One SMTP connection (RFC 5321): commands out, replies in, and the change to TLS between them. nodemailer writes our
// mails, but its own connection tells what became of each recipient only where the mail as a whole was taken, and never
// whether the end of the mail had been sent when the connection broke: both are what a retry must know.
import type { Socket } from 'node:net'
import { type ConnectionOptions, connect as connectTls } from 'node:tls'
import { DeliveryError } from '../errors.ts'
import { redact } from '../secrets/redaction/index.ts'
import { storable, storableText } from '../storable.ts'

/** A server that says more than this in one go is none. */
const MAX_REPLY_BYTES = 64 * 1024
const MAX_REPLIES = 100
/** As much of a reply's text is kept. */
const MAX_TEXT = 500

export interface Reply {
  code: number
  /** Made storable, capped, and without our secrets. */
  text: string
  /** All of the lines as they came, without their codes; for the extensions. */
  lines: string[]
}

export interface Session {
  /** What the server offered after its last EHLO: names in upper case, with what follows them. */
  extensions: Map<string, string>
  /** Resolves when the socket has emitted this. */
  until(event: 'connect' | 'secureConnect'): Promise<void>
  read(): Promise<Reply>
  command(line: string): Promise<Reply>
  /** Resolves when the bytes have left this process. */
  write(bytes: Buffer): Promise<void>
  /** TLS from here on; resolves when the server has shown its certificate. */
  secure(options: ConnectionOptions): Promise<void>
  /** Our end of the connection. */
  localAddress(): string | undefined
  /** Ends the socket at once. */
  destroy(): void
  /** Ends it with QUIT, and waits for nobody. */
  quit(): void
}

/** @param secrets never appear in a reply's text, for some servers repeat what they were told */
export function createSession(first: Socket, secrets: readonly string[]): Session {
  let socket = first
  let rest = ''
  let size = 0
  let lines: { code: string; text: string }[] = []
  let ended: Error | undefined
  const replies: Reply[] = []
  const waiting: ((reply: Reply) => void)[] = []
  const failing = new Set<(error: Error) => void>()

  /** Stays for the life of the socket: an idle connection that dies must be nobody's error. */
  function end(error: Error): void {
    ended ??= error
    for (const fail of failing) fail(ended)
    failing.clear()
    waiting.length = 0
  }

  function broken(what: string): void {
    end(new DeliveryError('DESTINATION_UNAVAILABLE', `the answer could not be read as SMTP: ${what}`))
    socket.destroy()
  }

  function take(chunk: Buffer): void {
    size += chunk.length
    if (size > MAX_REPLY_BYTES) {
      broken('it is too long')
      return
    }
    const parts = (rest + chunk.toString('latin1')).split('\n')
    rest = parts.pop()!
    for (const part of parts) {
      const match = /^([2-5]\d\d)(?:([ -])(.*))?$/s.exec(part.replace(/\r$/, ''))
      if (!match || (lines[0] && lines[0].code !== match[1])) {
        broken('it has no reply code')
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
    if (replies.length > MAX_REPLIES) broken('it was not asked for')
  }

  function listen(): void {
    socket.on('error', end)
    socket.on('close', () => end(new DeliveryError('DESTINATION_UNAVAILABLE', 'the server closed the connection')))
  }

  function settling<T>(begin: (resolve: (value: T) => void) => void): Promise<T> {
    return new Promise((resolve, reject) => {
      if (ended) return reject(ended)
      failing.add(reject)
      begin((value) => {
        failing.delete(reject)
        resolve(value)
      })
    })
  }

  function read(): Promise<Reply> {
    const reply = replies.shift()
    if (reply) return Promise.resolve(reply)
    return settling((resolve) => waiting.push(resolve))
  }

  listen()
  socket.on('data', take)
  const session: Session = {
    extensions: new Map(),
    read,
    until: (event) => settling((resolve) => socket.once(event, () => resolve())),
    async command(line) {
      // Whatever was filled in: one command is one line.
      if (/[\r\n\0]/.test(line)) throw new Error('an SMTP command of several lines')
      const unasked = replies.shift()
      // RFC 5321, 3.8: 421 may come at any time. Anything else would be taken for the answer to what follows.
      if (unasked?.code === 421) return unasked
      if (unasked) broken('it was not asked for')
      if (ended) throw ended
      socket.write(`${line}\r\n`)
      return read()
    },
    // A failed one is told by the socket's own `error` and `close`.
    write: (bytes) => settling((resolve) => socket.write(bytes, (error) => error ?? resolve())),
    secure(options) {
      // RFC 3207, 6: what came before TLS may be somebody else's, and is not taken for an answer after it.
      if (replies.length > 0 || rest !== '' || lines.length > 0) {
        broken('it goes on after the answer to STARTTLS')
        return Promise.reject(ended!)
      }
      socket.off('data', take)
      socket = connectTls({ ...options, socket })
      listen()
      socket.on('data', take)
      session.extensions = new Map()
      return session.until('secureConnect')
    },
    localAddress: () => first.localAddress,
    destroy() {
      socket.destroy()
      first.destroy()
    },
    quit() {
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

/** Half a character at the cut would be refused by PostgreSQL's jsonb, for good. */
export function cutText(text: string, max: number): string {
  return storable(text.slice(0, max))
}
