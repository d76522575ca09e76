// The number of recipients that a mail server accepts in one transaction. Servers do not announce it, so it is learned from
// refusals and cached for the next transactions and mails.
import { LRUCache } from 'lru-cache'
import { LIMITS } from '../../../db/limits.ts'

/** After this time a transaction has all recipients again: the server may have raised its limit. */
const REMEMBERED_MS = 3_600_000

export interface RecipientLimit {
  /** How many recipients one transaction may have. */
  most(): number
  remember(most: number): void
  /**
   * The server refused `address` after accepting `most` others. If its reply is not clear, the reason may be the mailbox: the
   * limit is only cached when the server accepts the same address in another transaction.
   */
  suspect(most: number, address: string, clear: boolean): void
  /** The server accepted this address. */
  confirm(address: string): void
}

const limits = new LRUCache<string, number>({ max: LIMITS.smtpServersRemembered.value, ttl: REMEMBERED_MS })

/** @param server identifies the server and the tenant */
export function recipientLimit(server: readonly unknown[]): RecipientLimit {
  const key = JSON.stringify(server)
  let suspected: { most: number; address: string } | undefined
  const limit: RecipientLimit = {
    most: () => limits.get(key) ?? Number.POSITIVE_INFINITY,
    remember: (most) => void limits.set(key, most),
    suspect(most, address, clear) {
      if (clear) limit.remember(most)
      else suspected = { most, address }
    },
    confirm(address) {
      if (suspected?.address !== address) return
      limit.remember(suspected.most)
      suspected = undefined
    },
  }
  return limit
}
