// Which endpoints do not know `Expect: 100-continue`: they refuse it, or say nothing. Each process remembers them for a while.
import { LIMITS } from '../../../db/limits.ts'

const REMEMBER_MS = 3_600_000

interface Endpoint {
  protocol: string
  hostname: string
  port?: number
}

/** Until when an endpoint is not asked. */
const unable = new Map<string, number>()

export function mayAsk(endpoint: Endpoint): boolean {
  return (unable.get(keyOf(endpoint)) ?? 0) <= performance.now()
}

export function doNotAsk(endpoint: Endpoint): void {
  const key = keyOf(endpoint)
  unable.delete(key)
  unable.set(key, performance.now() + REMEMBER_MS)
  if (unable.size > LIMITS.expectationsRemembered.value) unable.delete(unable.keys().next().value!)
}

/** For tests. */
export function forgetExpectations(): void {
  unable.clear()
}

function keyOf({ protocol, hostname, port }: Endpoint): string {
  return `${protocol}//${hostname.toLowerCase()}:${port ?? ''}`
}
