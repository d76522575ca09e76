// What the demo submits: a report that any re-serialisation would change.
import type { Receiver } from './receivers.ts'

export interface DemoReceivers {
  /** Accepts at once. */
  archive: Receiver
  /** Answers 503 twice, then accepts. */
  partner: Receiver
  /** Accepts only what is signed. */
  reporter: Receiver
  /** One of six in the second half. */
  everywhere: Receiver
  callback: Receiver
}

/** Key order, a number beyond 53 bits, `0.50` and an escape: all of it arrives as it was written here. */
export const PAYLOAD =
  '{"report_id":"R-2025-0042","period":"2025-10","authority":"Z\\u00fcrich","sequence":9007199254740993,' +
  '"rows":[{"service":"registry","requests":412,"fees":823.50},{"fees":461.00,"service":"taxes","requests":96}]}'

/** The rows as the database table of the demo holds them. */
export const ROWS = 'registry 412 823.50, taxes 96 461.00'

export const REGISTERED = 'ms09-reporter'

/** A submission of the report, with the payload's bytes as they are. */
export function submission(destinations: unknown[], callbackUrl?: string): string {
  const rest = JSON.stringify({
    data_type: 'aggregated_report',
    priority: 'high',
    destinations,
    metadata: { source: 'demo' },
    options: { ...(callbackUrl !== undefined && { callback_url: callbackUrl }), timeout_seconds: 120 },
  })
  return `{"payload":${PAYLOAD},${rest.slice(1)}`
}

/** Two by their address, one registered before. */
export function firstDestinations({ archive, partner }: DemoReceivers): unknown[] {
  return [
    { name: 'archive', protocol: 'REST', endpoint: archive.url },
    { name: 'partner', protocol: 'REST', endpoint: partner.url },
    REGISTERED,
  ]
}
