// Gives a file the name of an older one: in one step if the server can (posix-rename). Otherwise the older file is renamed
// first, and removed only when the new one has the name: at every moment one complete file exists.
import { DeliveryError } from '../errors.ts'
import { isMissing, requestFailure, STATUS, statusOf } from './failure.ts'
import { look, remove, rename } from './files.ts'
import type { RemotePlace } from './path.ts'
import type { Session } from './session.ts'

type Names = Pick<RemotePlace, 'temporary' | 'aside'>

export async function replace(session: Session, { temporary, aside }: Names, to: string): Promise<void> {
  try {
    return await session.request<void>((sftp, done) => sftp.ext_openssh_rename(temporary, to, done))
  } catch (error) {
    if (statusOf(error) !== STATUS.OP_UNSUPPORTED) throw await nameFailure(session, to, error)
  }
  try {
    // Succeeds if no file has the name, or if the server replaces it, against the specification.
    return await rename(session, temporary, to)
  } catch (error) {
    if (statusOf(error) === undefined) throw error
    const there = await look(session, to).catch((unclear: unknown) => {
      throw statusOf(unclear) === undefined ? unclear : requestFailure(error, 'rename the file')
    })
    if (there?.isDirectory()) throw isFolder()
    if (!there) throw vanished(error) ?? requestFailure(error, 'rename the file')
  }
  await step(session, 'rename the older file', { aside, to }, rename(session, to, aside))
  await step(session, 'rename the file', { aside, to }, rename(session, temporary, to))
  // The new file has its name. An older one that cannot be removed stays under its hidden name.
  await remove(session, aside).catch(() => {})
}

/** Restores or removes an older file that an earlier attempt renamed before its connection ended. */
export async function repair(session: Session, { earlierAsides }: RemotePlace, to: string): Promise<void> {
  for (const aside of earlierAsides) {
    try {
      await restore(session, aside, to)
    } catch (error) {
      // The older file is still complete, and this attempt removes no file before its own file has the name.
      if (statusOf(error) === undefined) throw error
    }
  }
}

/** If the server refuses, restores the name of the older file. */
async function step(
  session: Session,
  what: string,
  { aside, to }: { aside: string; to: string },
  doing: Promise<void>,
): Promise<void> {
  try {
    await doing
  } catch (error) {
    if (statusOf(error) === undefined) throw error
    const failure = vanished(error) ?? requestFailure(error, what)
    try {
      await restore(session, aside, to)
    } catch {
      throw keptAside(failure, aside)
    }
    throw failure
  }
}

async function restore(session: Session, aside: string, to: string): Promise<void> {
  if (!(await look(session, aside))) return
  if (await look(session, to)) {
    await remove(session, aside)
    return
  }
  await rename(session, aside, to)
}

function keptAside(failure: unknown, aside: string): unknown {
  if (!(failure instanceof DeliveryError)) return failure
  const { code, message, cause, response, retryable } = failure
  return new DeliveryError(code, `${message}; the older file is now called ${aside}`, { cause, response, retryable })
}

async function nameFailure(session: Session, to: string, error: unknown): Promise<unknown> {
  const there = statusOf(error) === STATUS.FAILURE ? await look(session, to).catch(() => undefined) : undefined
  if (there?.isDirectory()) return isFolder()
  return vanished(error) ?? requestFailure(error, 'rename the file')
}

/** The written file no longer exists: another program removes files there. The next attempt may succeed. */
export function vanished(error: unknown): DeliveryError | undefined {
  if (!isMissing(error)) return undefined
  return new DeliveryError('DESTINATION_UNAVAILABLE', 'the file was removed before it had its final name', {
    cause: error,
  })
}

function isFolder(): DeliveryError {
  return new DeliveryError('MISCONFIGURED', 'the path is that of a folder; it must end with the name of a file')
}
