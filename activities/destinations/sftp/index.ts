// SFTP: one file per delivery. It succeeds when the server has confirmed the file's full size under its final name.

import { defineDestination } from '../destination.ts'
import { DeliveryError } from '../errors.ts'
import { deadlineMs, probeMs } from '../fields.ts'
import { keepConnections } from '../network/connections.ts'
import { withinDeadline } from '../network/deadline.ts'
import { targetOf } from '../network/target.ts'
import { sftpConfig } from './config.ts'
import { isMissing, requestFailure, statusOf } from './failure.ts'
import { look as lookAt } from './files.ts'
import { fillPath, fixedDirectory } from './path.ts'
import { publish } from './publish.ts'
import { openSession, type Session } from './session.ts'

/** Short, because servers limit the number of sessions, some by licence. */
const IDLE_MS = 15_000

const connections = keepConnections<Session>({
  idleMs: IDLE_MS,
  // Any status shows that the session works.
  check: (session) =>
    look(session, '.').catch((error: unknown) => {
      if (statusOf(error) === undefined) throw error
    }),
  destroy: (session) => session.destroy(),
  close: (session) => void session.close(),
})

export const sftp = defineDestination({
  protocol: 'SFTP',
  config: sftpConfig,
  example: {
    host: 'files.example',
    host_key: 'SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU',
    path: 'in/{payload.report_id}.json',
    credentials: 'files',
  },
  documentation: {
    delivered: 'the file has its final name and its full size',
    repeat: 'not needed: a repeat recognises its own file',
    again: 'full disk, timeout, network',
    final: 'no permission, file exists with `fail`, another host key',
  },
  gzip: false,
  target: ({ host, port }) => targetOf(host, port),
  deadlineMs,

  async deliver(config, message, signal, { egress }) {
    const place = fillPath(config, message)
    const timeoutMs = config.timeout_seconds * 1000
    return withinDeadline({ timeoutMs, signal, expects: 'accept the connection' }, async (attempt) => {
      const target = { egress, tenant_id: message.tenant_id, config }
      const open = () => openSession(config, attempt, egress)
      const { path, already_there } = await connections.use(target, attempt, open, (session) =>
        publish(session, attempt, config, place, message),
      )
      return { status: null, body: null, metadata: { path, bytes: message.body.length, already_there } }
    })
  },

  /** Logs in, and checks the folders of the path before its first placeholder. */
  async probe(config, signal, { egress }) {
    const timeoutMs = probeMs(config)
    await withinDeadline({ timeoutMs, signal, expects: 'accept the connection' }, async (attempt) => {
      const session = await openSession(config, attempt, egress)
      const off = attempt.onStop(() => session.destroy())
      try {
        attempt.expect('check the folder')
        await look(session, fixedDirectory(config.path) || '.').catch(async (error: unknown) => {
          const missing = await isAbsent(session, fixedDirectory(config.path) || '.', error)
          if (missing && config.create_directories) return
          if (missing) throw new DeliveryError('MISCONFIGURED', 'the folder of "path" does not exist')
          throw requestFailure(error, 'check the folder of the path')
        })
      } finally {
        await session.close()
        off()
      }
    })
  },
})

function look(session: Session, path: string): Promise<unknown> {
  return session.request((sftp, done) => sftp.stat(path, done))
}

async function isAbsent(session: Session, path: string, error: unknown): Promise<boolean> {
  if (isMissing(error)) return true
  return statusOf(error) !== undefined && (await lookAt(session, path).catch(() => 'unknown')) === undefined
}
