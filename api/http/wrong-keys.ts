// Counts unknown API keys by the address that sends them, so that guessing is slow and visible in the log. Valid keys from
// the same address still work, because many senders may share a proxy.
import { isIPv4, isIPv6 } from 'node:net'
import type { Context } from 'hono'
import { LRUCache } from 'lru-cache'
import { LIMITS } from '../../db/limits.ts'
import type { ApiEnv } from './context.ts'

export interface WrongKeys {
  /** Counts one unknown key. Returns the seconds to wait if there were too many, otherwise null. */
  count(address: string): number | null
}

const WINDOW_MS = 60_000
/** One attacker with many addresses must not fill the memory. */
const MAX_ADDRESSES = 10_000

export function createWrongKeys(now: () => number = () => performance.now()): WrongKeys {
  const windows = new LRUCache<string, { count: number; until: number }>({ max: MAX_ADDRESSES })

  return {
    count(address) {
      const network = networkOf(address)
      let window = windows.get(network)
      if (!window || window.until <= now()) {
        window = { count: 0, until: now() + WINDOW_MS }
        windows.set(network, window)
      }
      window.count += 1
      return window.count <= LIMITS.wrongKeys.value ? null : Math.max(1, Math.ceil((window.until - now()) / 1000))
    },
  }
}

/** The address of the client; `unknown` if there is no connection, as in a test. */
export function remoteAddress(c: Context<ApiEnv>): string {
  const { incoming } = (c.env ?? {}) as { incoming?: { socket?: { remoteAddress?: string } } }
  return incoming?.socket?.remoteAddress ?? 'unknown'
}

/** For IPv6 the first four groups: one client usually owns the whole network. */
function networkOf(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1]
  if (mapped !== undefined && isIPv4(mapped)) return mapped
  if (!isIPv6(address)) return address
  const [head = '', tail] = address.split('%')[0]!.split('::')
  const groups = head === '' ? [] : head.split(':')
  if (tail !== undefined) {
    const last = tail === '' ? [] : tail.split(':')
    while (groups.length + last.length < 8) groups.push('0')
    groups.push(...last)
  }
  return groups
    .slice(0, 4)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(':')
}
