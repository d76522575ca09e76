// What the tests of JDBC share: short ways to a configuration and a delivery.
import type { Message, Receipt } from '../../../activities/destinations/destination.ts'
import { type JdbcConfig, jdbcConfig } from '../../../activities/destinations/jdbc/config.ts'
import { jdbc } from '../../../activities/destinations/jdbc/index.ts'
import { aMessage, never, SECRET, surroundings } from './contract.ts'

/** Resolved, with the defaults; the deadline may be below a second. */
export function aConfig(given: Record<string, unknown>): JdbcConfig {
  const { timeout_seconds = 15, ...rest } = given
  const parsed = jdbcConfig.parse({ username: 'distributor', password: SECRET, ...rest }) as JdbcConfig
  return { ...parsed, timeout_seconds: timeout_seconds as number }
}

/** A message with this payload: a text stands for itself. */
export function aPayload(payload: unknown, given: Partial<Message> = {}): Message {
  const body = Buffer.from(typeof payload === 'string' ? payload : JSON.stringify(payload))
  return aMessage({ body, ...given })
}

export function send(
  config: JdbcConfig,
  message: Message,
  { signal = never, around = surroundings } = {},
): Promise<Receipt> {
  return jdbc.deliver(config, message, signal, around)
}
