// Attempts of the same distribution share one copy of the payload. Otherwise a thousand destinations would read
// megabytes a thousand times, and a hundred attempts at once would have a hundred copies in memory.

export interface Payloads {
  /** The payload for this key (tenant and job): the copy that another attempt still uses, or the result of `read`. */
  share(key: string, read: () => Promise<Buffer>): Promise<Buffer>
}

export function createPayloads(): Payloads {
  // Weak references: the garbage collector removes a payload that no attempt uses any more.
  const held = new Map<string, WeakRef<Buffer>>()
  const underWay = new Map<string, Promise<Buffer>>()
  const collected = new FinalizationRegistry<string>((key) => {
    if (!held.get(key)?.deref()) held.delete(key)
  })

  async function readOnce(key: string, read: () => Promise<Buffer>): Promise<Buffer> {
    try {
      const bytes = await read()
      held.set(key, new WeakRef(bytes))
      collected.register(bytes, key)
      return bytes
    } finally {
      underWay.delete(key)
    }
  }

  return {
    async share(key, read) {
      const present = held.get(key)?.deref()
      if (present) return present
      for (let others = underWay.get(key); others; others = underWay.get(key)) {
        // If the other read failed, for example because its connection broke, one of the waiting attempts reads again.
        const bytes = await others.catch(() => undefined)
        if (bytes) return bytes
      }
      const own = readOnce(key, read)
      underWay.set(key, own)
      return await own
    },
  }
}
