// A scripted mail server: defers single recipients, stops answering at any turn, disconnects after the last byte, or
// announces STARTTLS falsely. Mailpit tests normal behaviour; this server tests what Mailpit cannot be made to do.
import { EventEmitter, once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

export interface ReceivedMail {
  sender: string
  recipients: string[]
  /** As it was sent, with the dots undone. */
  data: Buffer
  /** Counts the connections from 1. */
  connection: number
}

/** In place of a reply. */
export type Silence = 'hang' | 'drop' | 'reset'

/** A reply with its code, without its line end; undefined: the usual one. */
export type Answer = string | Silence | undefined

export interface SmtpScript {
  /** What is said first. */
  greeting?: Answer
  /** Offered after EHLO. */
  extensions?: string[]
  /** The answer to a command, `.` being the end of a mail. Asked for each. */
  answer?: (command: string, connection: number) => Answer
  /** Nothing is read after this command was answered. */
  deaf_after?: string
  /** Replies are sent byte by byte. */
  drip_ms?: number
}

export interface SmtpReceiver {
  port: number
  /** All that was said, a login too, but for the mails themselves. */
  commands: string[]
  mails: ReceivedMail[]
  connections: { total: number; open: number }
  /** Changes what is done from now on. */
  script(script: SmtpScript): void
  /** Resolves when the condition holds; asked at each command and each opened or closed connection. */
  until(condition: (receiver: SmtpReceiver) => boolean): Promise<void>
  /** Says this line on all connections, unasked. */
  say(line: string): void
  /** Ends all connections as a server does that goes away. */
  hangUp(): void
  close(): Promise<void>
}

export async function startSmtpReceiver(first: SmtpScript = {}): Promise<SmtpReceiver> {
  let script = first
  const events = new EventEmitter().setMaxListeners(0)
  const open = new Set<Socket>()
  const receiver: SmtpReceiver = {
    port: 0,
    commands: [],
    mails: [],
    connections: { total: 0, open: 0 },
    script(next) {
      script = next
    },
    async until(condition) {
      const late = AbortSignal.timeout(10_000)
      while (!condition(receiver)) await once(events, 'change', { signal: late })
    },
    say(line) {
      for (const socket of open) socket.write(`${line}\r\n`)
    },
    hangUp() {
      for (const socket of open) socket.destroy()
    },
    async close() {
      receiver.hangUp()
      server.close()
      await once(server, 'close')
    },
  }

  const server = createServer((socket) => {
    const connection = ++receiver.connections.total
    receiver.connections.open++
    open.add(socket)
    socket.setNoDelay(true)
    socket.on('error', () => {})
    socket.on('close', () => {
      open.delete(socket)
      receiver.connections.open--
      events.emit('change')
    })
    events.emit('change')
    void converse(socket, connection)
  })

  async function converse(socket: Socket, connection: number): Promise<void> {
    let mail: ReceivedMail = { sender: '', recipients: [], data: Buffer.alloc(0), connection }
    let inData = false
    let data = ''
    if (!(await reply(socket, script.greeting ?? '220 test ESMTP'))) return
    let rest = ''
    try {
      for await (const chunk of socket.iterator({ destroyOnReturn: false })) {
        const lines = (rest + (chunk as Buffer).toString('latin1')).split('\r\n')
        rest = lines.pop()!
        for (const line of lines) {
          if (inData && line !== '.') {
            data += `${line.replace(/^\./, '')}\r\n`
            continue
          }
          if (!inData) receiver.commands.push(line)
          events.emit('change')
          const given = script.answer?.(line, connection)
          const answer = given ?? usual(line, script.extensions ?? ['8BITMIME', 'SIZE 0'])
          const taken = /^[23]/.test(answer)
          if (line.startsWith('MAIL')) mail = { ...mail, sender: addressIn(line), recipients: [] }
          if (line.startsWith('RCPT') && taken) mail.recipients.push(addressIn(line))
          if (line === 'DATA') inData = taken
          if (line === '.' && inData) {
            // Also when no answer follows: it is here.
            if (taken || answer === 'drop' || answer === 'reset' || answer === 'hang') {
              receiver.mails.push({ ...mail, recipients: [...mail.recipients], data: Buffer.from(data, 'latin1') })
            }
            data = ''
            inData = false
            events.emit('change')
          }
          if (!(await reply(socket, answer))) return
          if (line === script.deaf_after) return
          if (line === 'QUIT') return void socket.end()
        }
      }
    } catch {
      // The other side went away.
    }
  }

  /** False when nothing more is said on this connection. */
  async function reply(socket: Socket, answer: string): Promise<boolean> {
    if (answer === 'hang') {
      // Its end is still to be heard.
      socket.resume()
      return false
    }
    if (answer === 'drop') socket.destroy()
    else if (answer === 'reset') socket.resetAndDestroy()
    else if (script.drip_ms === undefined) socket.write(`${answer}\r\n`)
    else {
      for (const byte of `${answer}\r\n`) {
        if (socket.destroyed) return false
        socket.write(byte)
        await sleep(script.drip_ms)
      }
    }
    return !socket.destroyed
  }

  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  receiver.port = (server.address() as AddressInfo).port
  return receiver
}

function usual(command: string, extensions: string[]): string {
  if (command.startsWith('EHLO')) {
    return ['test', ...extensions]
      .map((line, index, all) => `250${index < all.length - 1 ? '-' : ' '}${line}`)
      .join('\r\n')
  }
  if (command.startsWith('AUTH LOGIN')) return '334 VXNlcm5hbWU6'
  if (command.startsWith('AUTH')) return '235 2.7.0 welcome'
  if (command === 'DATA') return '354 go on'
  if (command === 'QUIT') return '221 bye'
  return '250 2.0.0 OK'
}

function addressIn(line: string): string {
  return /<([^>]*)>/.exec(line)?.[1] ?? ''
}
