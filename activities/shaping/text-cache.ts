// Caches the compiled form of a tenant's text (a schema, a configuration), so that not every payload compiles it again.
import { LRUCache } from 'lru-cache'

const MAX_TEXTS = 200
/** Characters of all cached texts; the compiled form takes up to a hundred times as much memory. */
const MAX_LENGTH = 2_097_152

const caches: { clear(): void }[] = []

/** Call it before the first text of another tenant. */
export function clearTextCaches(): void {
  for (const cache of caches) cache.clear()
}

/** `make`, called once for each text while the text is cached. */
export function cachedByText<T extends {}>(make: (text: string) => T): (text: string) => T {
  const cache = new LRUCache<string, T>({
    max: MAX_TEXTS,
    maxSize: MAX_LENGTH,
    // A longer text takes all of the room, and is cached alone.
    sizeCalculation: (_, text) => Math.min(Math.max(text.length, 1), MAX_LENGTH),
  })
  caches.push(cache)
  return (text) => {
    const made = cache.get(text) ?? make(text)
    cache.set(text, made)
    return made
  }
}
