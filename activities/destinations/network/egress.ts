// The only way to the network. A name is resolved once, its forbidden addresses are removed, and the connection goes to a
// checked address: the name is not resolved again between the check and the connection.
import dns from 'node:dns'
import net, { type LookupFunction } from 'node:net'
import tls from 'node:tls'
import { DeliveryError } from '../errors.ts'
import { isLocalhost, isReachable, parseAddress, parseCidrs } from './addresses.ts'
import { createOwnServers, type OwnServer } from './own-servers.ts'

export interface EgressOptions {
  /** Ranges that deliveries may reach in addition to the public ones (EGRESS_ALLOW). */
  allow: readonly string[]
  /** The Distributor's own servers at the moment. Deliveries never reach them, even in an allowed range. */
  own?: () => readonly OwnServer[]
  /** Resolves a name to all its addresses; by default with the system's resolver. */
  lookup?: (host: string) => Promise<dns.LookupAddress[]>
}

export interface ConnectOptions {
  host: string
  port: number
  /** Uses TLS if given; `servername` defaults to the host name. */
  tls?: tls.ConnectionOptions
}

export interface Egress {
  /**
   * The permitted addresses of a host name or literal address; at least one.
   * @throws DeliveryError EGRESS_DENIED when every address is forbidden, DESTINATION_UNAVAILABLE when the name is unknown
   */
  resolve(host: string): Promise<dns.LookupAddress[]>
  /** @throws DeliveryError EGRESS_DENIED when the host is a forbidden address, in any spelling. Resolves no name. */
  assertHost(host: string): void
  /** The same for the host of a URL; for the API, at submission. */
  assertUrl(url: string): void
  /** @throws DeliveryError EGRESS_DENIED when this is a server of the Distributor itself. Resolves no name. */
  assertNotOwn(host: string, port: number): void
  /**
   * Returns a socket that is connecting to a checked address. Errors of `resolve` arrive as its `error` event. The caller
   * listens for `connect` or `secureConnect`, and destroys the socket at the deadline.
   */
  connect(options: ConnectOptions): net.Socket
}

/** @throws TypeError for an entry of `allow` that is not a CIDR */
export function createEgress({ allow, own = () => [], lookup: lookupName = systemLookup }: EgressOptions): Egress {
  const ranges = parseCidrs(allow)
  const ownServers = createOwnServers(own, addressesOf)
  // The system runs only a few look-ups at a time for the whole process: many deliveries to one name whose DNS servers do not
  // answer would block all other names. So each name is looked up once at a time.
  const pendingLookups = new Map<string, Promise<dns.LookupAddress[]>>()

  function addressesOf(host: string): Promise<dns.LookupAddress[]> {
    const lookup = pendingLookups.get(host) ?? lookupName(host).finally(() => pendingLookups.delete(host))
    pendingLookups.set(host, lookup)
    return lookup
  }

  function assertHost(host: string): void {
    const address = parseAddress(host)
    if (address && !isReachable(address, ranges)) throw denied()
  }

  async function resolve(host: string): Promise<dns.LookupAddress[]> {
    assertHost(host)
    const literal = parseAddress(host)
    if (literal) return [{ address: literal.toString(), family: literal.kind() === 'ipv4' ? 4 : 6 }]
    const addresses = await addressesOf(host).catch((cause: unknown) => {
      throw new DeliveryError('DESTINATION_UNAVAILABLE', `the host name cannot be resolved (${codeOf(cause)})`, {
        cause,
      })
    })
    const permitted = addresses.filter(({ address }) => {
      const parsed = parseAddress(address)
      return parsed !== undefined && isReachable(parsed, ranges)
    })
    if (addresses.length === 0) throw new DeliveryError('DESTINATION_UNAVAILABLE', 'the host name has no address')
    if (permitted.length === 0) throw denied()
    return permitted
  }

  function assertNotOwn(host: string, port: number): void {
    const address = parseAddress(isLocalhost(host) ? '127.0.0.1' : host)
    if (address && ownServers.include(address, port)) throw deniedOwn()
  }

  /** The permitted addresses, without those of the Distributor's own servers. */
  async function resolveFor(host: string, port: number): Promise<dns.LookupAddress[]> {
    const [addresses] = await Promise.all([resolve(host), ownServers.lookUp(port)])
    const others = addresses.filter(({ address }) => {
      const parsed = parseAddress(address)
      return parsed !== undefined && !ownServers.include(parsed, port)
    })
    if (others.length === 0) throw deniedOwn()
    return others
  }

  /** For `net.connect`, which does not call it for literal addresses. */
  const lookupFor =
    (host: string, port: number): LookupFunction =>
    (_, options, callback) => {
      resolveFor(host, port).then(
        (addresses) => {
          const { family } = options
          const wanted = addresses.filter((each) => (family === 4 || family === 6 ? each.family === family : true))
          const first = wanted[0]
          if (!first)
            callback(new DeliveryError('DESTINATION_UNAVAILABLE', 'the host has no address of that family'), '')
          else if (options.all) callback(null, wanted)
          else callback(null, first.address, first.family)
        },
        (error: Error) => callback(error, ''),
      )
    }

  return {
    resolve,
    assertHost,
    assertUrl: (url) => assertHost(new URL(url).hostname),
    assertNotOwn,
    connect({ host, port, tls: tlsOptions }) {
      const bare = host.replace(/^\[|\]$/g, '')
      assertHost(bare)
      assertNotOwn(bare, port)
      // Node does not call `lookup` for a literal address. This name makes it do so, because the names of the Distributor's own
      // servers must be resolved first.
      const asked = net.isIP(bare) !== 0 && ownServers.areNamed(port) ? 'address.invalid' : bare
      const to = { host: asked, port, lookup: lookupFor(bare, port) }
      return tlsOptions ? tls.connect({ ...verifying(bare, tlsOptions), ...to }) : net.connect(to)
    },
  }
}

/** The certificate must be valid, and for `host` unless `servername` names another. */
export function verifying(host: string, options: tls.ConnectionOptions): tls.ConnectionOptions {
  const bare = host.replace(/^\[|\]$/g, '')
  // A server name must not be an address or end with a dot (RFC 6066).
  const servername = options.servername ?? (net.isIP(bare) === 0 ? bare.replace(/\.$/, '') : '')
  return {
    // Set explicitly: NODE_TLS_REJECT_UNAUTHORIZED=0 in the environment must not turn off the check of certificates.
    rejectUnauthorized: true,
    checkServerIdentity: (_, certificate) => tls.checkServerIdentity(servername || bare, certificate),
    ...options,
    servername,
  }
}

function denied(): DeliveryError {
  return new DeliveryError('EGRESS_DENIED', 'the host has only addresses that deliveries may not reach')
}

function deniedOwn(): DeliveryError {
  return new DeliveryError('EGRESS_DENIED', 'the host and port belong to a server of the Distributor itself')
}

function systemLookup(host: string): Promise<dns.LookupAddress[]> {
  return dns.promises.lookup(host, { all: true })
}

function codeOf(cause: unknown): string {
  const code = (cause as NodeJS.ErrnoException | null)?.code
  return typeof code === 'string' ? code : 'no code'
}
