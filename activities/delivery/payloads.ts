// One payload for all that send it: a thousand destinations of one distribution would otherwise read its megabytes a
// thousand times, and hold them a hundred times at once.

export interface Payloads {
  /** The bytes of the payload under this key, a tenant's job: those that another attempt still holds, or what `read` finds. */
  share(key: string, read: () => Promise<Buffer>): Promise<Buffer>
}

export function createPayloads(): Payloads {
  // Nobody needs to give anything back: what no attempt holds any more is collected.
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
        // Their failure is not ours: a connection may have broken. One of those who waited reads again.
        const bytes = await others.catch(() => undefined)
        if (bytes) return bytes
      }
      const own = readOnce(key, read)
      underWay.set(key, own)
      return await own
    },
  }
}
