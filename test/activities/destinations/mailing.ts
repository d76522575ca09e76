// What the tests of EMAIL share: a configuration, a delivery, and scripted servers that stop after each test.
import { onTestFinished } from 'vitest'
import type { Message } from '../../../activities/destinations/destination.ts'
import { type EmailConfig, emailConfig } from '../../../activities/destinations/email/config.ts'
import { email } from '../../../activities/destinations/email/index.ts'
import { type SmtpReceiver, type SmtpScript, startSmtpReceiver } from '../../support/receivers/smtp.ts'
import { aMessage, failureOf, never, surroundings } from './contract.ts'

export async function scripted(script: SmtpScript = {}): Promise<SmtpReceiver> {
  const receiver = await startSmtpReceiver(script)
  onTestFinished(() => receiver.close())
  return receiver
}

/** A resolved configuration with the defaults, without TLS unless given. `timeout_seconds` may be below a second. */
export function aConfig(port: number, given: Record<string, unknown> = {}): EmailConfig {
  const { timeout_seconds = 5, ...rest } = given
  const parsed = emailConfig.parse({
    host: '127.0.0.1',
    port,
    security: 'none',
    from: 'Reports <reports@sender.test>',
    to: ['ann@example.test'],
    ...rest,
  })
  return { ...(parsed as EmailConfig), timeout_seconds: timeout_seconds as number }
}

export function send(config: EmailConfig, message: Partial<Message> = {}, signal = never) {
  return email.deliver(config, aMessage(message), signal, surroundings)
}

export function failed(config: EmailConfig, message: Partial<Message> = {}) {
  return failureOf(send(config, message))
}

export function probe(config: EmailConfig) {
  return email.probe(config, never, surroundings)
}
