// What a circuit goes by where no destination is registered: the same server is the same target, whatever it is called.
import type { Protocol } from './states.ts'

const USUAL_PORTS: Record<string, string> = {
  http: '80',
  https: '443',
  'jdbc:postgresql': '5432',
  'jdbc:mysql': '3306',
  'jdbc:mariadb': '3306',
}
/** `scheme://user@host:port`, the scheme of JDBC included. */
const AUTHORITY = /^([a-z0-9+:]+):\/\/(?:[^@/?#]*@)?(\[[^\]]*\]|[^/?#:,]+)(?::(\d{1,5}))?/i

/** `REST://receiver.example:443`; null where the configuration names no server. */
export function inlineTarget(protocol: Protocol, configuration: Record<string, unknown>): string | null {
  const { endpoint, url, host, region } = configuration
  const address = [endpoint, url].find((value) => typeof value === 'string')
  if (address !== undefined) {
    const [, scheme = '', name, stated] = AUTHORITY.exec(address as string) ?? []
    return name === undefined ? null : named(protocol, name, stated ?? USUAL_PORTS[scheme.toLowerCase()])
  }
  if (typeof host === 'string') return named(protocol, host, portOf(protocol, configuration))
  return typeof region === 'string' ? named(protocol, region, undefined) : null
}

/** As stated, or the usual one of the protocol: the configuration is as it was submitted, without its defaults. */
function portOf(protocol: Protocol, { port, security }: Record<string, unknown>): unknown {
  if (port !== undefined && port !== null) return port
  switch (protocol) {
    case 'AMQP':
      return security === 'none' ? 5672 : 5671
    case 'EMAIL':
      return security === 'none' ? 25 : security === 'tls' ? 465 : 587
    case 'SFTP':
      return 22
    default:
      return undefined
  }
}

function named(protocol: Protocol, host: string, port: unknown): string {
  const name = host.toLowerCase().replace(/\.$/, '')
  return `${protocol}://${name}${port === undefined || port === null ? '' : `:${port}`}`.slice(0, 400)
}
