// Remembers for an hour, per process, which endpoints do not support `Expect: 100-continue`: they refuse it, or do not
// answer.
import { LRUCache } from 'lru-cache'
import { LIMITS } from '../../../db/limits.ts'

const REMEMBER_MS = 3_600_000

interface Endpoint {
  protocol: string
  hostname: string
  port?: number
}

const unable = new LRUCache<string, true>({ max: LIMITS.expectationsRemembered.value, ttl: REMEMBER_MS })

export function mayAsk(endpoint: Endpoint): boolean {
  return !unable.has(keyOf(endpoint))
}

export function doNotAsk(endpoint: Endpoint): void {
  unable.set(keyOf(endpoint), true)
}

/** For tests. */
export function forgetExpectations(): void {
  unable.clear()
}

function keyOf({ protocol, hostname, port }: Endpoint): string {
  return `${protocol}//${hostname.toLowerCase()}:${port ?? ''}`
}
