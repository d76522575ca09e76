// Lets work on a large document share the event loop with other work. All documents wait in one queue, and each round of the
// loop continues only one of them, so that four documents block the loop no longer than one.

/** Bytes that are read before other work may run: one or two milliseconds. */
export const SLICE_BYTES = 262_144

const waiting: (() => void)[] = []

/** Resolves after other waiting work has run. */
export function nextSlice(): Promise<void> {
  return new Promise((resume) => {
    waiting.push(resume)
    if (waiting.length === 1) setImmediate(resumeOne)
  })
}

function resumeOne(): void {
  waiting.shift()?.()
  if (waiting.length > 0) setImmediate(resumeOne)
}

/** Returns a function to call between two steps of long work. It waits for other work if this work ran for `ms` milliseconds. */
export function createPace(ms = 5): () => Promise<void> | undefined {
  let since = performance.now()
  return () => {
    if (performance.now() - since < ms) return undefined
    return nextSlice().then(() => {
      since = performance.now()
    })
  }
}

export interface TokenReader {
  /** False at the end. */
  next(): boolean
  /** Bytes read so far. */
  readonly position: number
}

/** Reads to the end, and lets other work run every `ms` milliseconds. */
export async function inSlices(reader: TokenReader, ms = 5): Promise<void> {
  const pace = createPace(ms)
  for (let limit = SLICE_BYTES / 8; reader.next(); ) {
    if (reader.position < limit) continue
    await pace()
    limit = reader.position + SLICE_BYTES / 8
  }
}
