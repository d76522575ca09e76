/** The newest version that still builds by `go install`. */
export const GO_VERSION_BUILT: string

/** The lock file of the process that fetches the program into `folder`. */
export function temporalLock(folder: string): string

/**
 * Builds the `temporal` program into the user's cache with Go, when it is not there, no other one is named by the settings,
 * and `download` (a URL) does not answer. Says what it does, line by line.
 */
export function buildEarly(env: NodeJS.ProcessEnv, say: (line: string) => void, download?: string): Promise<void>
