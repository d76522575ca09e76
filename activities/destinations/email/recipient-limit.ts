// How many recipients a mail server takes in one transaction. No server announces it, so it is learnt from refusals and
// remembered for the next transaction and the next mail.
import { LRUCache } from 'lru-cache'
import { LIMITS } from '../../../db/limits.ts'

/** After this long the server is tried with all recipients again: its limit may have been raised. */
const REMEMBERED_MS = 3_600_000

export interface RecipientLimit {
  /** How many may be named in one transaction. */
  most(): number
  remember(most: number): void
  /**
   * The server refused `address` behind `most` others. Unless its reply was clear, this may be about the mailbox alone, and
   * counts only once the same address was taken in another transaction.
   */
  suspect(most: number, address: string, clear: boolean): void
  /** The server took this address. */
  confirm(address: string): void
}

const limits = new LRUCache<string, number>({ max: LIMITS.smtpServersRemembered.value, ttl: REMEMBERED_MS })

/** @param server what makes it this server for this tenant */
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
