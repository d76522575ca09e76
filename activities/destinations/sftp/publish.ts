// Writes the file of a delivery under a temporary name, checks its size, then renames it in one step, so that no reader sees
// a partial file. A retry, even after a lost answer, recognises the file of an earlier attempt and makes no second one.

import type { Message } from '../destination.ts'
import { DeliveryError } from '../errors.ts'
import type { Attempt } from '../network/deadline.ts'
import type { SftpConfig } from './config.ts'
import { isMissing, requestFailure, STATUS, statusOf } from './failure.ts'
import {
  closeFile,
  createFile,
  flush,
  holds,
  look,
  makeDirectories,
  remove,
  rename,
  setMode,
  sizeOf,
  writeAll,
} from './files.ts'
import type { RemotePlace } from './path.ts'
import { repair, replace, vanished } from './replace.ts'
import type { Session } from './session.ts'

/** The time limit for removing the temporary file after a failure. */
const TIDY_MS = 2_000

export interface Published {
  path: string
  /** An earlier attempt delivered the file. */
  already_there: boolean
}

export async function publish(
  session: Session,
  attempt: Attempt,
  config: SftpConfig,
  place: RemotePlace,
  message: Message,
): Promise<Published> {
  const { target, temporary, leftovers, second } = place
  const isRepeat = message.is_repeat ?? message.attempt_number > 1
  /**
   * Whether an earlier attempt, whose answer was lost, wrote this file. Equal bytes prove that, but only for a retry: in a
   * first attempt an equal file belongs to another delivery.
   */
  const isOurs = async (path: string) =>
    isRepeat && (await step('read the file', holdsOrUnreadable(session, path, message.body)))
  const done = (path: string, already_there = false): Published => ({ path, already_there })

  attempt.expect('answer which files exist')
  await Promise.all(leftovers.map((path) => remove(session, path).catch(ignore)))
  if (config.if_exists !== 'fail') await repair(session, place, config.if_exists === 'overwrite' ? target : second)
  if (config.if_exists === 'keep_both' && isRepeat) {
    if ((await step('check the file', look(session, second))) && (await isOurs(second))) return done(second, true)
  }
  let isTaken = false
  if (config.if_exists !== 'overwrite') {
    isTaken = (await step('check the file', look(session, target))) !== undefined
    if (isTaken && (await isOurs(target))) return done(target, true)
    if (isTaken && config.if_exists === 'fail') throw exists()
  }
  try {
    await upload(session, attempt, config, place, message.body)
    attempt.expect('rename the file')
    if (config.if_exists === 'overwrite') {
      await replace(session, place, target)
      return done(target)
    }
    if (!isTaken && (await claim(session, temporary, target))) return done(target)
    if (!isTaken && (await isOurs(target))) {
      await tidy(session, temporary)
      return done(target, true)
    }
    if (config.if_exists === 'fail') throw exists()
    // The name contains the delivery's id: only this delivery can have written such a file.
    await replace(session, place, second)
    return done(second)
  } catch (error) {
    await tidy(session, temporary)
    throw error
  }
}

async function upload(
  session: Session,
  attempt: Attempt,
  { create_directories, directory_mode, file_mode }: SftpConfig,
  { directory, temporary }: RemotePlace,
  body: Buffer,
): Promise<void> {
  attempt.expect('open a file')
  const handle = await createFile(session, temporary).catch(async (error: unknown) => {
    if (await hasNoFolder(session, directory, error)) {
      if (!create_directories) {
        throw new DeliveryError('MISCONFIGURED', 'the folder of "path" does not exist, and create_directories is off')
      }
      await step('create the folders of the path', makeDirectories(session, directory, directory_mode))
    } else if (!(await remove(session, temporary).catch(() => false))) {
      // No file of an earlier attempt was the reason.
      throw requestFailure(error, 'open a file in the folder')
    }
    return step('open a file in the folder', createFile(session, temporary))
  })
  attempt.expect('accept the file')
  await step('write the file', writeAll(session, handle, body))
  if (file_mode !== undefined) await step('set file_mode', setMode(session, handle, file_mode))
  await step('write the file to its disk', flush(session, handle))
  await step('close the file', closeFile(session, handle))
  attempt.expect('confirm the size of the file')
  const size = await sizeOf(session, temporary).catch((error: unknown) => {
    throw vanished(error) ?? requestFailure(error, 'give the size of the file')
  })
  if (size !== body.length) {
    throw new DeliveryError(
      'DESTINATION_UNAVAILABLE',
      `the server accepted ${body.length} bytes, but the file has ${size ?? 'an unknown number'}`,
    )
  }
}

/** Whether a file could not be created because its folder is missing: some servers answer FAILURE in that case. */
async function hasNoFolder(session: Session, directory: string, error: unknown): Promise<boolean> {
  if (isMissing(error)) return true
  if (statusOf(error) === undefined || directory === '' || directory === '/') return false
  // If this fails too, the first answer is reported.
  const folder = await look(session, directory).catch(() => 'unknown' as const)
  return folder === undefined
}

/**
 * Gives the file its name; returns false if another file has it. In version 3 a rename must not replace a file
 * (filexfer-02, section 6.5): OpenSSH makes a link, which is safe against races. Some other servers replace it anyway,
 * so it is checked before.
 */
async function claim(session: Session, from: string, to: string): Promise<boolean> {
  if (await step('check the file', look(session, to))) return false
  try {
    await rename(session, from, to)
    return true
  } catch (error) {
    if (statusOf(error) !== undefined && (await step('check the file', look(session, to)))) return false
    throw vanished(error) ?? requestFailure(error, 'rename the file')
  }
}

/** If the folder accepts files but does not let us read them, only name and size are compared. */
async function holdsOrUnreadable(session: Session, path: string, body: Buffer): Promise<boolean> {
  try {
    return await holds(session, path, body)
  } catch (error) {
    const status = statusOf(error)
    if (status === STATUS.PERMISSION_DENIED) return (await sizeOf(session, path)) === body.length
    // It was removed in the meantime, or is not a file.
    if (isMissing(error) || status === STATUS.FAILURE) return false
    throw error
  }
}

async function step<T>(what: string, doing: Promise<T>): Promise<T> {
  try {
    return await doing
  } catch (error) {
    throw requestFailure(error, what)
  }
}

/** Removes the temporary file if possible; it does not change the outcome of the attempt. */
async function tidy(session: Session, temporary: string): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const enough = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, TIDY_MS)
  })
  await Promise.race([remove(session, temporary).then(ignore, ignore), enough])
  clearTimeout(timer)
}

function ignore(): void {}

function exists(): DeliveryError {
  return new DeliveryError('REJECTED', 'a file of that name exists, and if_exists is "fail"')
}
