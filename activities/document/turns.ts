// How long work over a large document takes turns with everything else on the event loop. One loop, one queue: of several
// documents under way only one gets a turn in each round, so that four of them stop nobody for longer than one does.

/** So many bytes are read in one turn: one or two milliseconds. */
export const TURN_BYTES = 262_144

const waiting: (() => void)[] = []

/** Resolves when the others had their turn. */
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

/** Between two steps of a longer work: waits for the others once this work had the loop for some milliseconds. */
export function createPace(ms = 5): () => Promise<void> | undefined {
  let since = performance.now()
  return () => {
    if (performance.now() - since < ms) return undefined
    return nextTurn().then(() => {
      since = performance.now()
    })
  }
}
