// File operations of the protocol. They fail with a status (failure.ts) or because the connection is lost.
import type { FileEntryWithStats, Stats } from 'ssh2'
import { LIMITS } from '../../../db/limits.ts'
import { isMissing, STATUS, statusOf } from './failure.ts'
import type { Session } from './session.ts'

/** Less than the packet size that every server must accept (34,000 bytes, filexfer-02, section 3). */
const CHUNK_BYTES = 30 * 1024
/** Open requests at the same time: enough for a fast connection with a long delay, and at most 2 MB of memory. */
const AT_ONCE = 64

/**
 * LSTAT; undefined if there is no such file. Some servers answer FAILURE for a missing file, or do not support LSTAT; then
 * other requests are tried.
 */
export async function look(session: Session, path: string): Promise<Stats | undefined> {
  try {
    return await session.request<Stats>((sftp, done) => sftp.lstat(path, done))
  } catch (error) {
    if (isMissing(error)) return undefined
    if (statusOf(error) === undefined) throw error
    return await lookOtherwise(session, path, error)
  }
}

/** Tries STAT, then lists the folder. @throws the first answer if both fail */
async function lookOtherwise(session: Session, path: string, answer: unknown): Promise<Stats | undefined> {
  try {
    return await session.request<Stats>((sftp, done) => sftp.stat(path, done))
  } catch (error) {
    if (isMissing(error)) return undefined
    if (statusOf(error) === undefined) throw error
  }
  const { folder, name } = partsOf(path)
  if (name === '') throw answer
  try {
    return await listed(session, folder, name)
  } catch (error) {
    if (isMissing(error)) return undefined
    if (statusOf(error) === undefined) throw error
  }
  // A missing folder contains nothing.
  if (folder !== '.' && folder !== '/' && (await look(session, folder)) === undefined) return undefined
  throw answer
}

/** @throws FAILURE for a folder with more entries than are read */
async function listed(session: Session, folder: string, name: string): Promise<Stats | undefined> {
  const handle = await session.request<Buffer>((sftp, done) => sftp.opendir(folder, done))
  try {
    for (let seen = 0; seen < LIMITS.sftpListing.value; ) {
      const entries = await session
        .request<FileEntryWithStats[]>((sftp, done) => sftp.readdir(handle, done))
        .catch((error: unknown) => {
          if (statusOf(error) === STATUS.EOF) return []
          throw error
        })
      if (entries.length === 0) return undefined
      const found = entries.find(({ filename }) => filename === name)
      if (found) return found.attrs
      seen += entries.length
    }
  } finally {
    await closeFile(session, handle).catch(() => {})
  }
  throw Object.assign(new Error('the folder has too many files to search for one'), { code: STATUS.FAILURE })
}

function partsOf(path: string): { folder: string; name: string } {
  const at = path.lastIndexOf('/')
  if (at < 0) return { folder: '.', name: path === '.' ? '' : path }
  return { folder: path.slice(0, at) || '/', name: path.slice(at + 1) }
}

/** Follows a link. */
export async function sizeOf(session: Session, path: string): Promise<number | undefined> {
  try {
    return (await session.request<Stats>((sftp, done) => sftp.stat(path, done))).size
  } catch (error) {
    if (statusOf(error) === undefined || isMissing(error)) throw error
    const found = await look(session, path)
    if (!found) throw error
    return found.size
  }
}

export function rename(session: Session, from: string, to: string): Promise<void> {
  return session.request<void>((sftp, done) => sftp.rename(from, to, done))
}

/** @returns whether the file existed */
export async function remove(session: Session, path: string): Promise<boolean> {
  try {
    await session.request<void>((sftp, done) => sftp.unlink(path, done))
    return true
  } catch (error) {
    if (isMissing(error)) return false
    throw error
  }
}

/** Opens a new file for writing; fails when the file exists. */
export function createFile(session: Session, path: string): Promise<Buffer> {
  return session.request<Buffer>((sftp, done) => sftp.open(path, 'wx', done))
}

export async function writeAll(session: Session, handle: Buffer, bytes: Buffer): Promise<void> {
  await inChunks(bytes.length, (offset, length) =>
    session.request<unknown>((sftp, done) => sftp.write(handle, bytes, offset, length, offset, done)),
  )
}

export function closeFile(session: Session, handle: Buffer): Promise<void> {
  return session.request<void>((sftp, done) => sftp.close(handle, done))
}

export function setMode(session: Session, handle: Buffer, mode: string): Promise<void> {
  return session.request<void>((sftp, done) => sftp.fchmod(handle, Number.parseInt(mode, 8), done))
}

/** Asks the server to write the bytes to its disk, if it supports `fsync@openssh.com`. */
export async function flush(session: Session, handle: Buffer): Promise<void> {
  try {
    await session.request<unknown>((sftp, done) => sftp.ext_openssh_fsync(handle, done))
  } catch (error) {
    // BAD_MESSAGE stands for EINVAL: the file system does not support it.
    const status = statusOf(error)
    if (status !== STATUS.OP_UNSUPPORTED && status !== STATUS.BAD_MESSAGE) throw error
  }
}

/** Whether the file holds exactly these bytes. */
export async function holds(session: Session, path: string, bytes: Buffer): Promise<boolean> {
  if ((await sizeOf(session, path)) !== bytes.length) return false
  const handle = await session.request<Buffer>((sftp, done) => sftp.open(path, 'r', done))
  try {
    let equal = true
    await inChunks(bytes.length, async (offset, length) => {
      if (equal) equal = await rangeHolds(session, handle, bytes.subarray(offset, offset + length), offset)
    })
    return equal
  } finally {
    await closeFile(session, handle).catch(() => {})
  }
}

async function rangeHolds(session: Session, handle: Buffer, expected: Buffer, position: number): Promise<boolean> {
  const buffer = Buffer.alloc(expected.length)
  for (let at = 0; at < expected.length; ) {
    const read = await session
      .request<number>((sftp, done) => sftp.read(handle, buffer, at, expected.length - at, position + at, done))
      .catch((error: unknown) => {
        if (statusOf(error) === STATUS.EOF) return 0
        throw error
      })
    // The file has become shorter.
    if (read === 0) return false
    at += read
  }
  return buffer.equals(expected)
}

/** Creates the folder and the missing ones above it. */
export async function makeDirectories(session: Session, directory: string, mode: string | undefined): Promise<void> {
  const missing: string[] = []
  // Starts with the deepest folder: a server may hide what is above the user's own folders.
  for (let at = directory; at !== '' && at !== '/'; at = at.slice(0, Math.max(at.lastIndexOf('/'), 0))) {
    if (await look(session, at)) break
    missing.unshift(at)
  }
  for (const path of missing) {
    try {
      await session.request<void>((sftp, done) => sftp.mkdir(path, done))
    } catch (error) {
      // Another delivery may have created it in the meantime.
      if (!(await look(session, path))) throw error
      continue
    }
    // Not with mkdir: there the server's umask removes bits.
    if (mode !== undefined) {
      await session.request<void>((sftp, done) => sftp.chmod(path, Number.parseInt(mode, 8), done))
    }
  }
}

/** Runs `work` for each part of `length` bytes, several at a time; stops at the first failure. */
async function inChunks(length: number, work: (offset: number, length: number) => Promise<unknown>): Promise<void> {
  let next = 0
  const worker = async () => {
    while (next < length) {
      const offset = next
      next += CHUNK_BYTES
      try {
        await work(offset, Math.min(CHUNK_BYTES, length - offset))
      } catch (error) {
        next = length
        throw error
      }
    }
  }
  await Promise.all(Array.from({ length: Math.min(AT_ONCE, Math.ceil(length / CHUNK_BYTES)) }, worker))
}
