// Which addresses deliveries may reach. No name is resolved here.
import ipaddr from 'ipaddr.js'

export type Address = ipaddr.IPv4 | ipaddr.IPv6
export type Cidr = [Address, number]

/**
 * Metadata services that give out credentials, and two addresses that look public or private but belong to the cloud
 * platform. A wide allowed range never includes them: only their own /32 or /128 does.
 */
const METADATA = [
  '169.254.169.254', // AWS, GCP, Azure, OpenStack, DigitalOcean
  '169.254.170.2', // AWS ECS task credentials
  '169.254.170.23', // AWS EKS pod identity
  '168.63.129.16', // Azure wire server, in a public range
  '100.100.100.200', // Alibaba
  '192.0.0.192', // Oracle
  'fd00:ec2::254', // AWS
  'fd00:ec2::23', // AWS EKS pod identity
  'fd20:ce::254', // GCP
].map((address) => ipaddr.parse(address).toNormalizedString())

/** All public IPv6 addresses that have been assigned so far (RFC 4291, IANA). */
const GLOBAL_UNICAST: Cidr = [ipaddr.parse('2000::'), 3]

/** @throws TypeError that names the entry that is not a CIDR */
export function parseCidrs(ranges: readonly string[]): Cidr[] {
  return ranges.map((range) => {
    if (!ipaddr.isValidCIDR(range)) throw new TypeError(`"${range}" is not a CIDR range such as 10.1.0.0/16`)
    const [address, prefix] = ipaddr.parseCIDR(range)
    return address instanceof ipaddr.IPv6 && address.isIPv4MappedAddress() && prefix >= 96
      ? [address.toIPv4Address(), prefix - 96]
      : [address, prefix]
  })
}

/** Reads an address in any spelling that resolvers accept (`2130706433`, `0x7f.1`, `[::1]`, `fe80::1%eth0`). */
export function parseAddress(host: string): Address | undefined {
  const bare = host.replace(/^\[|\]$/g, '')
  return ipaddr.isValid(bare) ? ipaddr.parse(bare) : undefined
}

/** `localhost` and the names below it are loopback, and are not resolved (RFC 6761). */
export function isLocalhost(host: string): boolean {
  return /^(.*\.)?localhost\.?$/i.test(host)
}

/** Equal for equal addresses; the interface is ignored. */
export function addressKey(address: Address): string {
  return canonical(address).toByteArray().join('.')
}

/** Public addresses are reachable; other addresses only if they are in `allow`. */
export function isReachable(address: Address, allow: readonly Cidr[]): boolean {
  const target = canonical(address)
  const listed = allow.filter((range) => target.kind() === range[0].kind() && target.match(range as never))
  if (METADATA.includes(target.toNormalizedString())) {
    return listed.some(([base, prefix]) => prefix === (base.kind() === 'ipv4' ? 32 : 128))
  }
  if (listed.length > 0) return true
  if (target.range() !== 'unicast') return false
  return target instanceof ipaddr.IPv4 || target.match(GLOBAL_UNICAST as [ipaddr.IPv6, number])
}

/**
 * The IPv4 address that an IPv6 address stands for: mapped and compatible forms (RFC 4291), and NAT64's well-known prefix
 * (RFC 6052). 6to4, Teredo and local NAT64 prefixes are not converted; their ranges are refused as a whole.
 */
export function canonical(address: Address): Address {
  if (!(address instanceof ipaddr.IPv6)) return address
  const bytes = address.toByteArray()
  const inLast32 = ['::ffff:0:0/96', '64:ff9b::/96', '::/96'].some((range) =>
    address.match(ipaddr.IPv6.parseCIDR(range)),
  )
  // `::` and `::1` stand for no IPv4 address.
  const own = bytes.slice(0, 15).every((byte) => byte === 0) && bytes[15]! <= 1
  return inLast32 && !own ? new ipaddr.IPv4(bytes.slice(12)) : address
}
