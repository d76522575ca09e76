// PostgreSQL refuses to run as root, so under root it runs as another user, who may not be able to enter the folders
// (everything below a folder of mode 0700). The folders are then in a place that this user can enter, and a pointer file has
// the path.
import { execFileSync, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'

export interface SystemUser {
  uid: number
  gid: number
}

/** The user that a database server runs as: undefined for the present user, another one if that is root. */
export function databaseUser(): SystemUser | undefined {
  if (process.getuid?.() !== 0) return undefined
  for (const name of ['postgres', 'nobody', 'daemon']) {
    try {
      const id = (flag: string) => Number(execFileSync('id', [flag, name], { encoding: 'utf8', stdio: 'pipe' }))
      return { uid: id('-u'), gid: id('-g') }
    } catch {
      // This system has no such user.
    }
  }
  throw new Error('PostgreSQL refuses to run as root, and none of the users postgres, nobody, daemon exists')
}

/** Whether `user` can enter `folder`; tried as that user. */
export function canEnter(user: SystemUser | undefined, folder: string): boolean {
  if (!user) return true
  return spawnSync('/bin/sh', ['-c', 'cd "$0"', folder], { ...user, cwd: '/', stdio: 'ignore' }).status === 0
}

/**
 * A folder that belongs to `user`, survives restarts and can be entered; it is created if needed. It is `dir/name` if that
 * works, otherwise a folder under /var/lib whose path is in the pointer file `dir/name.location`.
 */
export function reachableFolder(user: SystemUser | undefined, dir: string, name: string): string {
  const pointer = join(dir, `${name}.location`)
  const folder = pointed(dir, name) ?? join(dir, name)
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  if (folder !== join(dir, name)) markOwner(folder, dir)
  if (!user) return folder
  chownSync(folder, user.uid, user.gid)
  if (canEnter(user, folder)) return folder
  if (folder !== join(dir, name)) throw new Error(`${pointer} names ${folder}, which the database's user cannot enter`)
  const elsewhere = join(sharedPlace(), `${name}-${randomBytes(6).toString('hex')}`)
  mkdirSync(elsewhere, { mode: 0o700 })
  chownSync(elsewhere, user.uid, user.gid)
  if (!canEnter(user, elsewhere)) throw new Error(`the database's user can enter neither ${folder} nor ${elsewhere}`)
  markOwner(elsewhere, dir)
  writeFileSync(pointer, `${elsewhere}\n`, { mode: 0o600 })
  rmSync(folder, { recursive: true, force: true })
  return elsewhere
}

/** Removes the folder that `reachableFolder` created. */
export function removeReachableFolder(dir: string, name: string): void {
  for (const folder of [pointed(dir, name), join(dir, name)]) {
    if (folder) rmSync(folder, { recursive: true, force: true })
  }
  rmSync(join(dir, `${name}.location`), { force: true })
}

/** The file in such a folder that names its `dir`. */
const OWNER_FILE = 'belongs-to'

function markOwner(folder: string, dir: string): void {
  writeFileSync(join(folder, OWNER_FILE), `${resolve(dir)}\n`, { mode: 0o644 })
}

/** Folders of this `dir` that its pointer does not name, because `dir` was deleted and created again. */
export function leftBehindFolders(dir: string, name: string): string[] {
  const own = pointed(dir, name)
  if (!existsSync(SHARED)) return []
  return readdirSync(SHARED)
    .filter((entry) => entry.startsWith(`${name}-`))
    .map((entry) => join(SHARED, entry))
    .filter((folder) => folder !== own && read(join(folder, OWNER_FILE)) === resolve(dir))
}

function read(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8').trim()
  } catch {
    return undefined
  }
}

/** The folder of the cluster of the embedded database in `dir`, even if it does not exist yet. */
export function clusterFolder(dir: string): string {
  return join(pointed(dir, 'postgres') ?? join(dir, 'postgres'), 'cluster')
}

function pointed(dir: string, name: string): string | undefined {
  return read(join(dir, `${name}.location`))
}

const SHARED = '/var/lib/distributor'

/** A folder that only root can write and all users can read. */
export function sharedPlace(): string {
  try {
    mkdirSync(SHARED, { recursive: true, mode: 0o755 })
    return SHARED
  } catch {
    const temporary = mkdtempSync(join(tmpdir(), 'distributor-'))
    chmodSync(temporary, 0o755)
    return temporary
  }
}
