// How work on a large document shares the event loop with everything else. All documents wait in one queue: in each round of
// the loop only one of them goes on, so that four of them hold the loop no longer than one does.

/** So many bytes are read in one turn: one or two milliseconds. */
export const TURN_BYTES = 262_144

const waiting: (() => void)[] = []

/** Resolves when the others have had their turn. */
export function nextTurn(): Promise<void> {
  return new Promise((resume) => {
    waiting.push(resume)
    if (waiting.length === 1) setImmediate(resumeOne)
  })
}

function resumeOne(): void {
  waiting.shift()?.()
  if (waiting.length > 0) setImmediate(resumeOne)
}

/** Called between two steps of a longer work: waits for the others once this work has held the loop for some milliseconds. */
export function createPace(ms = 5): () => Promise<void> | undefined {
  let since = performance.now()
  return () => {
    if (performance.now() - since < ms) return undefined
    return nextTurn().then(() => {
      since = performance.now()
    })
  }
}

/** What reads one token after the other. */
export interface TokenReader {
  /** False at the end. */
  next(): boolean
  /** Bytes read so far. */
  readonly position: number
}

/** Reads to the end, and lets other work have its turn every `ms` milliseconds. */
export async function inTurns(reader: TokenReader, ms = 5): Promise<void> {
  const pace = createPace(ms)
  for (let turn = TURN_BYTES / 8; reader.next(); ) {
    if (reader.position < turn) continue
    await pace()
    turn = reader.position + TURN_BYTES / 8
  }
}
