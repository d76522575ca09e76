// Where tests keep files.
import { chmodSync, mkdtempSync, readFileSync, statfsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** A new folder that every user may enter, for servers that run as somebody else. The caller removes it. */
export function temporaryFolder(name: string, parent = tmpdir()): string {
  const folder = mkdtempSync(join(parent, `distributor-${name}-`))
  chmodSync(folder, 0o711)
  return folder
}

const MEMORY = '/dev/shm'
/** What a run needs at most, with room to spare, in bytes. */
const RUN_BYTES = 6 * 2 ** 30

/**
 * The parent of a run's folder. Databases of tests are thousands of small files, made and removed again. ext4 searches
 * long for a free inode after a removal: a database took 450 ms of processor time there and 25 ms in memory (measured).
 */
export function parentOfRun(): string {
  try {
    const { bavail, bsize } = statfsSync(MEMORY)
    const mount = readFileSync('/proc/mounts', 'utf8')
      .split('\n')
      .find((line) => line.split(' ')[1] === MEMORY)
    // Some tests run programs from there.
    if (mount && !/\bnoexec\b/.test(mount) && bavail * bsize > RUN_BYTES) return MEMORY
  } catch {
    // Not Linux.
  }
  return tmpdir()
}
