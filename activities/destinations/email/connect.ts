// Opens a session that can send mails: greeting, EHLO, STARTTLS and AUTH. With "starttls", only EHLO and STARTTLS are
// sent before TLS.
import { isIP } from 'node:net'
import { DeliveryError } from '../errors.ts'
import type { Attempt } from '../network/deadline.ts'
import type { Egress } from '../network/egress.ts'
import { connectGuarded } from '../network/guarded.ts'
import { tlsConnection, tlsMaterial } from '../network/tls.ts'
import { type EmailConfig, portOf } from './config.ts'
import { replyFailure, responseOf } from './replies.ts'
import { createSession, type Session } from './session.ts'

/** The settings of a connection: mails with equal settings may use the same one. */
export type ServerConfig = Pick<
  EmailConfig,
  'host' | 'port' | 'security' | 'tls' | 'username' | 'password' | 'ehlo_name'
>

export function serverOf(config: EmailConfig): ServerConfig {
  const { host, port, security, tls, username, password, ehlo_name } = config
  return { host, port, security, tls, username, password, ehlo_name }
}

/** If it fails, no connection stays open. */
export async function openSession(config: ServerConfig, attempt: Attempt, egress: Egress): Promise<Session> {
  const login = loginOf(config)
  const tls = tlsConnection(tlsMaterial(config.tls))
  const server = { host: config.host, port: portOf(config), ...(config.security === 'tls' && { tls }) }
  return connectGuarded(server, attempt, egress, async (connection) => {
    const session = createSession(connection, login?.secrets ?? [])
    attempt.expect('greet')
    const greeting = await session.read()
    if (greeting.code !== 220) throw replyFailure(greeting, 'the connection')
    await greet(session, attempt, config)
    if (config.security === 'starttls') {
      await startTls(session, attempt, tls)
      await greet(session, attempt, config)
    }
    if (login) await authenticate(session, attempt, login)
    return session
  })
}

async function greet(session: Session, attempt: Attempt, config: ServerConfig): Promise<void> {
  attempt.expect('answer EHLO')
  const reply = await session.command(`EHLO ${config.ehlo_name ?? addressLiteral(session.localAddress())}`)
  if (reply.code !== 250) throw replyFailure(reply, 'EHLO')
  session.extensions = new Map(
    reply.lines.slice(1).map((line) => {
      const [name, ...rest] = line.trim().split(/[ =]/)
      return [name!.toUpperCase(), rest.join(' ')]
    }),
  )
}

async function startTls(session: Session, attempt: Attempt, options: Parameters<Session['secure']>[0]): Promise<void> {
  if (!session.extensions.has('STARTTLS')) {
    throw new DeliveryError('MISCONFIGURED', 'the server does not offer STARTTLS, and nothing is sent without TLS')
  }
  attempt.expect('answer STARTTLS')
  const reply = await session.command('STARTTLS')
  if (reply.code !== 220) {
    const failure = replyFailure(reply, 'STARTTLS')
    if (failure.retryable) throw failure
    throw new DeliveryError('MISCONFIGURED', failure.message, { response: failure.response })
  }
  attempt.expect('complete the TLS handshake')
  await session.secure(options)
}

interface Login {
  username: string
  password: string
  /** The secrets in all forms that are sent. */
  secrets: string[]
}

function loginOf({ username, password }: ServerConfig): Login | undefined {
  if (username === undefined && password === undefined) return undefined
  if (username === undefined || password === undefined) {
    const missing = username === undefined ? 'username' : 'password'
    throw new DeliveryError('MISCONFIGURED', `"${missing}" is missing; give both username and password, or neither`)
  }
  // NUL separates the fields of AUTH PLAIN (RFC 4616).
  if (`${username}${password}`.includes('\0')) {
    throw new DeliveryError('MISCONFIGURED', 'username or password contains a NUL character, which cannot be sent')
  }
  return { username, password, secrets: [password, base64(password), plain(username, password)] }
}

async function authenticate(session: Session, attempt: Attempt, login: Login): Promise<void> {
  const offered = (session.extensions.get('AUTH') ?? '').toUpperCase().split(' ')
  attempt.expect('answer AUTH')
  if (offered.includes('PLAIN')) {
    return finishLogin(await session.command(`AUTH PLAIN ${plain(login.username, login.password)}`))
  }
  if (!offered.includes('LOGIN')) {
    throw new DeliveryError('MISCONFIGURED', 'the server offers neither AUTH PLAIN nor AUTH LOGIN')
  }
  for (const line of ['AUTH LOGIN', base64(login.username)]) {
    const reply = await session.command(line)
    if (reply.code !== 334) return finishLogin(reply)
  }
  finishLogin(await session.command(base64(login.password)))
}

/** Any 5xx refuses the login; 454 and other 4xx are temporary problems of the server. */
function finishLogin(reply: Awaited<ReturnType<Session['read']>>): void {
  if (reply.code === 235) return
  const failure = replyFailure(reply, 'AUTH')
  if (reply.code < 500) throw failure
  throw new DeliveryError('UNAUTHORIZED', failure.message, { response: responseOf(reply) })
}

function plain(username: string, password: string): string {
  return base64(`\0${username}\0${password}`)
}

function base64(text: string): string {
  return Buffer.from(text, 'utf8').toString('base64')
}

/** RFC 5321, 4.1.3: a client without a host name gives its address. */
function addressLiteral(address: string | undefined): string {
  const bare = (address ?? '127.0.0.1').replace(/^::ffff:/, '').replace(/%.*$/, '')
  return isIP(bare) === 6 ? `[IPv6:${bare}]` : `[${bare}]`
}
