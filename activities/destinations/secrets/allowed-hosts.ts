// Which hosts a credential may be sent to: normalises entries and hosts, and compares them. Pure.
import { parseAddress } from '../network/addresses.ts'
import { targetOf } from '../network/target.ts'

const NAME = /^[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*$/
const WILDCARD = '*.'

/** The normal form of a host, which limits use too (network/target.ts); empty if it is not a host. */
export function hostName(text: string): string {
  const host = targetOf(text, 0)?.host ?? ''
  return parseAddress(host) || NAME.test(host) ? host : ''
}

/** The problem with an entry of `allowed_hosts`; undefined if it is valid. */
export function allowedHostProblem(entry: string): string | undefined {
  const wild = entry.startsWith(WILDCARD)
  const host = wild ? entry.slice(WILDCARD.length) : entry
  if (host.length > 255) return 'is too long for a host name'
  if (parseAddress(host)) return wild ? 'is a wildcard in front of an IP address' : undefined
  if (host.includes(':') || host.includes('/')) return 'must be only a host, without scheme, port and path'
  return hostName(host) === '' ? 'must be a host name, an IP address, or "*." and a host name' : undefined
}

/** Whether one of the entries covers the host. `*.example.org` covers every name below `example.org`, not itself. */
export function covers(entries: readonly string[], host: string): boolean {
  const name = hostName(host)
  if (name === '') return false
  const isAddress = parseAddress(name) !== undefined
  return entries.some((entry) => {
    if (!entry.startsWith(WILDCARD)) return hostName(entry) === name
    const below = hostName(entry.slice(WILDCARD.length))
    return !isAddress && below !== '' && name.endsWith(`.${below}`)
  })
}

/** Whether `entries` already cover every host that `entry` covers. */
export function coversEntry(entries: readonly string[], entry: string): boolean {
  if (!entry.startsWith(WILDCARD)) return covers(entries, entry)
  const below = hostName(entry.slice(WILDCARD.length))
  return entries.some((other) => {
    if (!other.startsWith(WILDCARD)) return false
    const outer = hostName(other.slice(WILDCARD.length))
    return outer !== '' && (below === outer || below.endsWith(`.${outer}`))
  })
}
