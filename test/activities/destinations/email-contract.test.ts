import { email } from '../../../activities/destinations/email/index.ts'
import { startMailpit } from '../../support/receivers/mailpit.ts'
import { type At, contract, SECRET, WRONG } from './contract.ts'
import { aConfig } from './mailing.ts'

await contract({
  destination: email,
  programs: ['mailpit'],
  tls: 'first',
  repeat: 'recognisable',

  async start() {
    const mailpit = await startMailpit({
      auth: { username: 'distributor', password: SECRET },
      recipients: '@example\\.test$',
    })
    let places = 0
    return {
      port: mailpit.port,
      restart: mailpit.restart,
      close: mailpit.close,
      async place() {
        places += 1
        const inbox = `place-${places}@example.test`
        const config = ({ host, port, timeout_seconds }: At, given: Record<string, unknown> = {}) =>
          aConfig(port, { host, timeout_seconds, username: 'distributor', password: SECRET, to: [inbox], ...given })
        return {
          config: (at) => config(at),
          secured: (at, tls) => config(at, { security: 'tls', tls }),
          locked: (at) => config(at, { password: WRONG }),
          refused: (at) => config(at, { to: [`place-${places}@elsewhere.test`] }),
          async arrived() {
            const messages = await mailpit.messages(inbox)
            return messages.map(({ attachments, message_id }) => ({
              body: attachments[0]!.content,
              delivery_id: message_id.slice(1, message_id.indexOf('@')),
            }))
          },
        }
      },
    }
  },
})
