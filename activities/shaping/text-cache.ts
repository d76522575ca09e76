// What was made of texts of tenants, so that it is made once and not for every payload.

const MAX_TEXTS = 200
/** Of the texts: what is made of one takes up to a hundred times as much of the process's memory. */
const MAX_LENGTH = 2_097_152

const all = new Set<Map<string, unknown>>()

/** The next text is another tenant's. */
export function forgetAll(): void {
  for (const known of all) known.clear()
}

/** `make`, asked once for each text; all is forgotten when it has become too much. */
export function remembered<T>(make: (text: string) => T): (text: string) => T {
  const known = new Map<string, T>()
  all.add(known)
  let length = 0
  return (text) => {
    const found = known.get(text)
    if (found !== undefined) return found
    const made = make(text)
    if (known.size >= MAX_TEXTS || length + text.length > MAX_LENGTH) {
      known.clear()
      length = 0
    }
    if (known.size === 0) length = 0
    known.set(text, made)
    length += text.length
    return made
  }
}
