// One payload for all that send it: a thousand destinations of one distribution would otherwise read its megabytes a
// thousand times, and hold them a hundred times at once.

export interface Payloads {
  /** The bytes of this job's payload: those that another attempt is still holding, or what `read` finds. */
  share(id: string, read: () => Promise<Buffer>): Promise<Buffer>
}

export function createPayloads(): Payloads {
  // Nobody needs to give anything back: what no attempt holds any more is collected.
  const held = new Map<string, WeakRef<Buffer>>()
  const underWay = new Map<string, Promise<Buffer>>()
  const collected = new FinalizationRegistry<string>((id) => {
    if (!held.get(id)?.deref()) held.delete(id)
  })

  async function readOnce(id: string, read: () => Promise<Buffer>): Promise<Buffer> {
    try {
      const bytes = await read()
      held.set(id, new WeakRef(bytes))
      collected.register(bytes, id)
      return bytes
    } finally {
      underWay.delete(id)
    }
  }

  return {
    async share(id, read) {
      const present = held.get(id)?.deref()
      if (present) return present
      for (let others = underWay.get(id); others; others = underWay.get(id)) {
        // Their failure is not ours: a connection may have broken. One of those who waited reads again.
        const bytes = await others.catch(() => undefined)
        if (bytes) return bytes
      }
      const own = readOnce(id, read)
      underWay.set(id, own)
      return await own
    },
  }
}
