// Header names that a protocol or the Distributor itself sets. No configuration may set one, in upper or lower case: it
// could change the recipient, the framing or the stated sender of a message. Each protocol has its own list.

export const OWNED = 'is set by the Distributor itself'

/** A check of a header's name; `problem` returns undefined for a valid name. */
export function refuseOwned(problem: (name: string) => string | undefined) {
  return (name: string, context: { addIssue(issue: { code: 'custom'; message: string }): void }): void => {
    const message = problem(name)
    if (message !== undefined) context.addIssue({ code: 'custom', message })
  }
}
