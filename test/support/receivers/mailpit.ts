// A mail server of its own whose inboxes can be read: Mailpit.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { serverEnvironment } from '../../../temporal-config/process/settings.ts'
import { freePort } from '../../../temporal-config/stack/ports.ts'
import { temporaryFolder } from '../folders.ts'
import { obtainProgram } from './programs.ts'
import { type Receiver, startReceiver } from './receiver.ts'

/** Messages that are read at the same time. */
const AT_ONCE = 20

export interface MailpitOptions {
  /** Mail is taken from this user alone; over a connection without TLS too. */
  auth?: { username: string; password: string }
  /** PEM; `starttls` takes nothing before it, `tls` speaks nothing else. */
  tls?: { mode: 'starttls' | 'tls'; cert: string; key: string }
  /** Recipients beside this regular expression are refused with 550. */
  recipients?: string
  /** More recipients of one mail are answered with 452. */
  max_recipients?: number
  /** Free ones by default. */
  port?: number
  http_port?: number
  /** Hears of an installation. */
  say?: (line: string) => void
}

export interface MailpitMessage {
  /** With its angle brackets. */
  message_id: string
  from: string
  /** As the header says. */
  to: string[]
  cc: string[]
  /** Of the envelope, and in no header. */
  bcc: string[]
  subject: string
  text: string
  html: string
  attachments: { filename: string; content_type: string; content: Buffer }[]
  /** As it was stored, with the server's own Received field. */
  raw: Buffer
}

/** One reply that the server gives by chance: with `probability` 100, always. */
export interface Trigger {
  code: number
  probability: number
}

export interface Mailpit extends Receiver {
  /** The web page with all inboxes. */
  url: string
  /** All mail that is addressed to this recipient, oldest first; all of it when none is given. */
  messages(recipient?: string): Promise<MailpitMessage[]>
  /** What goes wrong from now on; nothing that is left out. */
  chaos(triggers: { sender?: Trigger; recipient?: Trigger; authentication?: Trigger }): Promise<void>
}

export async function startMailpit(options: MailpitOptions = {}): Promise<Mailpit> {
  const { auth, tls, recipients, max_recipients, say = () => {} } = options
  const program = await obtainProgram('mailpit', say)
  const port = options.port ?? (await freePort(0))
  const http = options.http_port ?? (await freePort(0))
  const folder = temporaryFolder('mailpit')
  const file = (name: string, content: string) => {
    const path = join(folder, name)
    writeFileSync(path, content, { mode: 0o600 })
    return path
  }
  const receiver = await startReceiver({
    name: 'mailpit',
    command: {
      program,
      args: [
        ...['--smtp', `127.0.0.1:${port}`, '--listen', `127.0.0.1:${http}`, '--database', join(folder, 'mailpit.db')],
        ...['--max', '0', '--smtp-disable-rdns', '--disable-version-check', '--enable-chaos'],
        ...(auth ? ['--smtp-auth-file', file('users', `${auth.username}:${auth.password}\n`)] : []),
        ...(auth && !tls ? ['--smtp-auth-allow-insecure'] : []),
        ...(tls ? ['--smtp-tls-cert', file('cert.pem', tls.cert), '--smtp-tls-key', file('key.pem', tls.key)] : []),
        ...(tls ? [tls.mode === 'tls' ? '--smtp-require-tls' : '--smtp-require-starttls'] : []),
        ...(recipients === undefined ? [] : ['--smtp-allowed-recipients', recipients]),
        ...(max_recipients === undefined ? [] : ['--smtp-max-recipients', String(max_recipients)]),
      ],
      env: serverEnvironment(),
      stop_signals: ['SIGTERM'],
    },
    folder,
    port,
    answers: async () => (await fetch(`http://127.0.0.1:${http}/readyz`).catch(() => undefined))?.ok ?? false,
  })
  const url = `http://127.0.0.1:${http}`
  return {
    ...receiver,
    url,
    async messages(recipient) {
      const query = recipient === undefined ? '' : `&query=${encodeURIComponent(`addressed:"${recipient}"`)}`
      const list = await json<List>(`${url}/api/v1/${query === '' ? 'messages' : 'search'}?limit=10000${query}`)
      // The list has the newest first.
      const ids = list.messages.toReversed().map(({ ID }) => ID)
      const messages: MailpitMessage[] = []
      for (let at = 0; at < ids.length; at += AT_ONCE) {
        messages.push(...(await Promise.all(ids.slice(at, at + AT_ONCE).map((id) => readMessage(url, id)))))
      }
      return messages
    },
    async chaos({ sender, recipient, authentication }) {
      const trigger = (given?: Trigger) =>
        given ? { ErrorCode: given.code, Probability: given.probability } : { ErrorCode: 451, Probability: 0 }
      const body = JSON.stringify({
        Sender: trigger(sender),
        Recipient: trigger(recipient),
        Authentication: trigger(authentication),
      })
      const response = await fetch(`${url}/api/v1/chaos`, { method: 'PUT', body })
      if (!response.ok) throw new Error(`mailpit answered ${response.status}`)
    },
  }
}

interface List {
  messages: { ID: string }[]
}

interface Address {
  Address: string
}

interface Details {
  MessageID: string
  From: Address | null
  To: Address[] | null
  Cc: Address[] | null
  Bcc: Address[] | null
  Subject: string
  Text: string
  HTML: string
  Attachments: { PartID: string; FileName: string; ContentType: string }[] | null
}

async function readMessage(url: string, id: string): Promise<MailpitMessage> {
  const details = await json<Details>(`${url}/api/v1/message/${id}`)
  const attachments = (details.Attachments ?? []).map(async (part) => ({
    filename: part.FileName,
    content_type: part.ContentType,
    content: await bytes(`${url}/api/v1/message/${id}/part/${part.PartID}`),
  }))
  return {
    message_id: `<${details.MessageID}>`,
    from: details.From?.Address ?? '',
    to: addresses(details.To),
    cc: addresses(details.Cc),
    bcc: addresses(details.Bcc),
    subject: details.Subject,
    text: details.Text,
    html: details.HTML,
    attachments: await Promise.all(attachments),
    raw: await bytes(`${url}/api/v1/message/${id}/raw`),
  }
}

function addresses(list: Address[] | null): string[] {
  return (list ?? []).map(({ Address }) => Address)
}

async function json<T>(url: string): Promise<T> {
  return JSON.parse((await bytes(url)).toString('utf8')) as T
}

async function bytes(url: string): Promise<Buffer> {
  const response = await fetch(url)
  if (!response.ok) throw new Error(`mailpit answered ${response.status}`)
  return Buffer.from(await response.arrayBuffer())
}
