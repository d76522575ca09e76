// The example distribution: a payload that any re-serialisation would change, to three destinations.
import type { Receiver } from './receivers.ts'

export interface DemoReceivers {
  /** Accepts at once. */
  archive: Receiver
  /** Answers 503 twice, then accepts. */
  partner: Receiver
  /** Accepts only what is signed. */
  reporter: Receiver
  callback: Receiver
}

/** Key order, a number beyond 53 bits, `1.0` and an escape: all of it arrives as it was written here. */
export const PAYLOAD =
  '{"report_id":"R-2025-0042","total":1.0,"sequence":9007199254740993,"place":"Z\\u00fcrich","rows":[{"b":2,"a":1}]}'

export const REGISTERED = 'ms09-reporter'

/** The body of the submission, with the payload's bytes as they are. */
export function submission(receivers: DemoReceivers): string {
  const rest = JSON.stringify({
    data_type: 'aggregated_report',
    priority: 'high',
    destinations: [
      { name: 'archive', protocol: 'REST', endpoint: receivers.archive.url },
      { name: 'partner', protocol: 'REST', endpoint: receivers.partner.url },
      REGISTERED,
    ],
    metadata: { source: 'demo' },
    options: { callback_url: receivers.callback.url, timeout_seconds: 120 },
  })
  return `{"payload":${PAYLOAD},${rest.slice(1)}`
}
