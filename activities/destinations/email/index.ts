// EMAIL: one mail per attempt, to the recipients that have not accepted it yet. It is delivered when the server has accepted
// it for every recipient.

import { defineDestination } from '../destination.ts'
import { DeliveryError } from '../errors.ts'
import { deadlineMs, probeMs } from '../fields.ts'
import { keepConnections } from '../network/connections.ts'
import { withinDeadline } from '../network/deadline.ts'
import { targetOf } from '../network/target.ts'
import { compose } from './compose.ts'
import { emailConfig, MAIL_RETRIES, portOf } from './config.ts'
import { openSession, serverOf } from './connect.ts'
import { recipientLimit } from './recipient-limit.ts'
import { recorded, settle, settledBefore } from './recipients.ts'
import type { Session } from './session.ts'
import { createSending, transact } from './transaction.ts'

/** Servers keep idle connections for minutes, but many allow only a few per client. */
const IDLE_MS = 10_000

const connections = keepConnections<Session>({
  idleMs: IDLE_MS,
  async check(session) {
    const reply = await session.command('RSET')
    if (reply.code !== 250) throw new Error('the session is over')
  },
  destroy: (session) => session.destroy(),
  close: (session) => session.quit(),
})

export const email = defineDestination({
  protocol: 'EMAIL',
  config: emailConfig,
  example: {
    host: 'mail.example',
    from: 'Reports <reports@authority.example>',
    to: ['archive@authority.example'],
    subject: 'Report {payload.report_id}',
    attachment: { format: 'csv', rows_path: 'payload.rows' },
    credentials: 'mail',
  },
  documentation: {
    delivered: 'the server accepted it for every recipient',
    repeat: '`Message-ID`; the mail is not sent again to a recipient that was accepted',
    again: '4xx for a recipient or for the mail, timeout, network',
    final: '5xx',
  },
  gzip: false,
  target: (config) => targetOf(config.host, portOf(config)),
  deadlineMs,
  needsJson({ attachment }) {
    const format = attachment?.format
    return format === 'csv' || format === 'xml' ? `an attachment as ${format} is made from JSON` : undefined
  },
  retries: MAIL_RETRIES,

  async deliver(config, message, signal, { egress }) {
    signal.throwIfAborted()
    const earlier = settledBefore(message)
    const { bytes, message_id, sender, recipients } = await compose(config, message)
    if (bytes.length > config.max_message_bytes) {
      const limit = `"max_message_bytes" allows ${config.max_message_bytes}`
      throw new DeliveryError('REJECTED', `the mail has ${bytes.length} bytes; ${limit}`)
    }
    const left = recipients.filter((address) => !earlier.has(address))
    const sending = createSending(left, message.attempt_number)
    const attempted = () => ({
      message,
      message_id,
      recipients,
      earlier,
      outcomes: sending.outcomes(),
      perRecipient: sending.perRecipient(),
    })
    if (left.length === 0) return settle(attempted())
    const server = serverOf(config)
    const limit = recipientLimit([message.tenant_id, server.host, portOf(config), server.username])
    try {
      await withinDeadline({ timeoutMs: config.timeout_seconds * 1000, signal }, async (attempt) => {
        // This loop ends, because every connection but the last serves at least one recipient.
        for (let rest: readonly string[] = left; rest.length > 0; ) {
          rest = await connections.use(
            { egress, tenant_id: message.tenant_id, config: server },
            attempt,
            () => openSession(server, attempt, egress),
            (session) => transact(session, attempt, { sender, recipients: rest, bytes }, sending, limit),
          )
        }
      })
    } catch (error) {
      if (!(error instanceof DeliveryError) || !sending.began) throw error
      const { code, message: text, cause, retryable, response } = error
      throw new DeliveryError(code, text, { cause, retryable, response, ...recorded(attempted()) })
    }
    return settle(attempted())
  },

  /** Greeting, TLS and login; no mail is started. */
  async probe(config, signal, { egress }) {
    await withinDeadline({ timeoutMs: probeMs(config), signal }, async (attempt) => {
      const session = await openSession(serverOf(config), attempt, egress)
      session.quit()
    })
  },
})
