// The Distributor's own servers (database, Temporal, API) are never a destination. Otherwise a tenant who may reach loopback
// could reach Temporal's web page, which needs no key. They are compared by address and port at the moment of the connection,
// so no other spelling and no other name of this machine gets around the check.
import type { LookupAddress } from 'node:dns'
import { networkInterfaces } from 'node:os'
import { LRUCache } from 'lru-cache'
import { DeliveryError } from '../errors.ts'
import { type Address, addressKey, canonical, isLocalhost, parseAddress } from './addresses.ts'

export interface OwnServer {
  /** A name, an address, or the folder of a Unix socket, which means this machine. */
  host: string
  port: number
}

export interface OwnServers {
  /** Whether an address and port are those of one of them, as far as names have been looked up. */
  include(address: Address, port: number): boolean
  /** Whether one of them has this port and is known only by name, so that `lookUp` has something to do. */
  areNamed(port: number): boolean
  /**
   * Resolves the names of those with this port.
   * @throws DeliveryError DESTINATION_UNAVAILABLE if a name could never be resolved, so that its address is unknown
   */
  lookUp(port: number): Promise<void>
}

/** The addresses of this machine change seldom, and asking for them takes a system call. */
const INTERFACES_MS = 5_000
/** Addresses kept for one name, whose look-ups may give different addresses. */
const MAX_ADDRESSES = 64
const LOCAL = 'this machine'

/** @param list is called for each connection, because servers may start while others already deliver */
export function createOwnServers(
  list: () => readonly OwnServer[],
  lookup: (host: string) => Promise<LookupAddress[]>,
): OwnServers {
  /** All addresses that each name was resolved to. */
  const found = new Map<string, LRUCache<string, Address>>()
  let interfaces = { until: 0, addresses: new Set<string>() }

  function isLocal(address: Address): boolean {
    if (address.range() === 'loopback' || address.range() === 'unspecified') return true
    if (interfaces.until < performance.now()) {
      interfaces = { until: performance.now() + INTERFACES_MS, addresses: ownAddresses() }
    }
    return interfaces.addresses.has(addressKey(address))
  }

  /** A server's location: an address, or this machine. */
  function places({ host }: OwnServer): (Address | typeof LOCAL)[] {
    if (isThisMachine(host)) return [LOCAL]
    const literal = parseAddress(host)
    const addresses = literal ? [canonical(literal)] : [...(found.get(host)?.values() ?? [])]
    // A server on this machine may listen on all of its addresses.
    return addresses.map((address) => (isLocal(address) ? LOCAL : address))
  }

  const atPort = (port: number) => list().filter((server) => server.port === port)
  const names = (port: number) =>
    atPort(port)
      .map(({ host }) => host)
      .filter((host) => !isThisMachine(host) && parseAddress(host) === undefined)

  return {
    include(address, port) {
      const servers = atPort(port)
      if (servers.length === 0) return false
      const asked = canonical(address)
      return servers
        .flatMap(places)
        .some((place) => (place === LOCAL ? isLocal(asked) : addressKey(place) === addressKey(asked)))
    },
    areNamed: (port) => names(port).length > 0,
    async lookUp(port) {
      await Promise.all(
        names(port).map(async (name) => {
          const known = found.get(name) ?? new LRUCache<string, Address>({ max: MAX_ADDRESSES })
          const addresses = await lookup(name).catch((cause: unknown) => {
            if (known.size > 0) return []
            const message = 'a server of the Distributor itself has this port, and its name cannot be resolved'
            throw new DeliveryError('DESTINATION_UNAVAILABLE', message, { cause })
          })
          for (const { address } of addresses) {
            const parsed = parseAddress(address)
            if (parsed) known.set(addressKey(parsed), canonical(parsed))
          }
          found.set(name, known)
        }),
      )
    },
  }
}

function isThisMachine(host: string): boolean {
  return host === '' || host.startsWith('/') || isLocalhost(host)
}

function ownAddresses(): Set<string> {
  const addresses = Object.values(networkInterfaces()).flatMap((each = []) => each.map(({ address }) => address))
  return new Set(
    addresses.flatMap((text) => {
      const parsed = parseAddress(text)
      return parsed ? [addressKey(parsed)] : []
    }),
  )
}
