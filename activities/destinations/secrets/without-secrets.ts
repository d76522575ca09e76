// Runs a destination, and removes its secrets from its results and errors, which are stored and logged.
import { DeliveryError, type Response } from '../errors.ts'
import { redact, redactLarge } from './redaction/index.ts'

/** A longer chain of causes is a loop. */
const MAX_CAUSES = 10

/** @param clean applied to the result of `run` */
export async function withoutSecrets<T>(
  secrets: readonly string[],
  run: (conceal: (secret: string) => void) => Promise<T>,
  clean: (answer: T, secrets: readonly string[]) => T | Promise<T> = (answer) => answer,
): Promise<T> {
  const all = [...secrets]
  try {
    return await clean(await run((secret) => all.push(secret)), all)
  } catch (error) {
    throw await cleanError(error, all)
  }
}

export async function cleanReceipt<R extends Response & { metadata?: Record<string, unknown> }>(
  receipt: R,
  secrets: readonly string[],
): Promise<R> {
  const { metadata } = receipt
  return {
    ...(await cleanResponse(receipt, secrets)),
    ...(metadata && { metadata: cleanJson(metadata, secrets) }),
  }
}

async function cleanResponse<R extends Response>(response: R, secrets: readonly string[]): Promise<R> {
  return response.body === null ? response : { ...response, body: await redactLarge(response.body, secrets) }
}

/**
 * The error with clean texts, its causes included. `progress` is unchanged: only the next attempt reads it, and no answer
 * shows it.
 */
async function cleanError(error: unknown, secrets: readonly string[], depth = 0): Promise<unknown> {
  if (!(error instanceof Error) || depth > MAX_CAUSES) return error
  const cause = error.cause === undefined ? undefined : await cleanError(error.cause, secrets, depth + 1)
  if (error instanceof DeliveryError) {
    const { code, retryable, retryAfterMs, gone, answered, progress } = error
    const response = error.response && (await cleanResponse(error.response, secrets))
    const metadata = error.metadata && cleanJson(error.metadata, secrets)
    const options = { cause, retryable, retryAfterMs, response, gone, answered, metadata, progress }
    const clean = new DeliveryError(code, redact(error.message, secrets), options)
    clean.stack = redact(error.stack ?? '', secrets)
    return clean
  }
  // Changed in place, because the caller may need its class and its other fields.
  overwrite(error, 'message', secrets)
  overwrite(error, 'stack', secrets)
  overwrite(error, 'code', secrets)
  if (cause !== error.cause) error.cause = cause
  return error
}

function overwrite(error: Error, field: 'message' | 'stack' | 'code', secrets: readonly string[]): void {
  const text = (error as { code?: unknown })[field as 'code']
  if (typeof text !== 'string') return
  const clean = redact(text, secrets)
  if (clean !== text) Object.defineProperty(error, field, { value: clean, configurable: true, writable: true })
}

function cleanJson<T>(value: T, secrets: readonly string[]): T {
  if (typeof value === 'string') return redact(value, secrets) as T
  if (Array.isArray(value)) return value.map((item) => cleanJson(item, secrets)) as T
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, cleanJson(item, secrets)])) as T
}
