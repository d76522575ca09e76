// Calls of a running API.
import { setTimeout as sleep } from 'node:timers/promises'

const TRIES = 20

/** Speaks to a running API as a tenant's administrator. Like any sender it tries again after a 503. */
export function apiClient(url: string, key: string) {
  return async function call<T = Record<string, unknown>>(method: string, path: string, body?: unknown): Promise<T> {
    for (let tries = 1; ; tries += 1) {
      const answer = await fetch(`${url}/api/v1${path}`, {
        method,
        headers: { 'X-API-Key': key, 'Content-Type': 'application/json' },
        ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
      })
      const text = await answer.text()
      if (answer.ok) return JSON.parse(text) as T
      if (answer.status !== 503 || tries === TRIES)
        throw new Error(`${method} ${path} was answered with ${answer.status}: ${text}`)
      await sleep(1000 * Number(answer.headers.get('retry-after') ?? 1))
    }
  }
}

export type ApiCall = ReturnType<typeof apiClient>
