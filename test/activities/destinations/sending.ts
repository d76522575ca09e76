// What the tests of REST share: receivers that end with each test, and short ways to a configuration and a send.
import { onTestFinished } from 'vitest'
import type { Message } from '../../../activities/destinations/destination.ts'
import { type RestConfig, restConfig } from '../../../activities/destinations/rest/config.ts'
import { rest } from '../../../activities/destinations/rest/index.ts'
import { type HttpReceiverOptions, startHttpReceiver } from '../../support/receivers/http.ts'
import { aMessage, never, surroundings } from './contract.ts'

export async function receiving(script: HttpReceiverOptions['script'] = {}, options: HttpReceiverOptions = {}) {
  const receiver = await startHttpReceiver({ script, ...options })
  onTestFinished(() => receiver.close())
  return receiver
}

/** Resolved, with the defaults; the deadline is short, and below a second where a test waits for it. */
export function aConfig(endpoint: string, given: Record<string, unknown> = {}): RestConfig {
  const { timeout_seconds = 5, ...rest } = given
  return { ...(restConfig.parse({ endpoint, ...rest }) as RestConfig), timeout_seconds: timeout_seconds as number }
}

export function send(config: RestConfig, message: Partial<Message> = {}, signal = never) {
  return rest.deliver(config, aMessage(message), signal, surroundings)
}

export async function sent(given: Record<string, unknown> = {}, message: Partial<Message> = {}, path = '/in') {
  const receiver = await receiving()
  await send(aConfig(receiver.url + path, given), message)
  return receiver.requests[0]!
}
