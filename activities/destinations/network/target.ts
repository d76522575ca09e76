// The server that a configuration connects to, in normal form: limits, circuits and slots are counted by it.
import { domainToASCII } from 'node:url'
import { canonical, parseAddress } from './addresses.ts'

/** A server's address as the client will connect to it. */
export interface Target {
  /** Lower case, without a final dot; an IPv6 address in brackets, an IPv4 address as four decimal numbers. */
  host: string
  port: number
}

/** The longest name that DNS allows (RFC 1035). */
const MAX_NAME = 253
const USUAL_PORTS: Record<string, number> = { 'http:': 80, 'https:': 443 }

/** All spellings of a server give the same target; undefined if the host name is invalid. */
export function targetOf(host: string, port: number): Target | undefined {
  const name = normalHost(host)
  return name === undefined ? undefined : { host: name, port }
}

/** The target of a parsed URL. */
export function targetOfUrl(url: URL): Target | undefined {
  const port = url.port === '' ? USUAL_PORTS[url.protocol] : Number(url.port)
  return port === undefined ? undefined : targetOf(url.hostname, port)
}

/** `REST://receiver.example:443` */
export function targetText(protocol: string, { host, port }: Target): string {
  return `${protocol}://${host}:${port}`
}

function normalHost(host: string): string | undefined {
  const bare = host.replace(/^\[|\]$/g, '').replace(/\.+$/, '')
  const literal = parseAddress(bare)
  if (literal) return spelled(literal)
  // `domainToASCII` parses a URL: these characters would end the host or be decoded.
  if (/[\s/\\?#@:%[\]{}]/.test(bare)) return undefined
  const name = domainToASCII(bare)
  if (name === '' || name.length > MAX_NAME) return undefined
  // Full-width digits may have been converted to an IP address.
  const address = parseAddress(name)
  return address ? spelled(address) : name
}

function spelled(address: NonNullable<ReturnType<typeof parseAddress>>): string {
  const own = canonical(address)
  return own.kind() === 'ipv4' ? own.toString() : `[${own.toString()}]`
}
