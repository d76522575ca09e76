// PostgreSQL refuses to run as root, so under root it runs as another user, who may not be able to enter the folders
// it needs (anything below one of mode 0700). Then they are kept where that user can, and a pointer says where.
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

/** The user that a database server should run as: undefined for ourselves, another one when we are root. */
export function databaseUser(): SystemUser | undefined {
  if (process.getuid?.() !== 0) return undefined
  for (const name of ['postgres', 'nobody', 'daemon']) {
    try {
      const id = (flag: string) => Number(execFileSync('id', [flag, name], { encoding: 'utf8', stdio: 'pipe' }))
      return { uid: id('-u'), gid: id('-g') }
    } catch {
      // No such user here.
    }
  }
  throw new Error('PostgreSQL refuses to run as root, and none of the users postgres, nobody, daemon exists')
}

/** Whether `user` can enter `folder`, tried as that user. */
export function canEnter(user: SystemUser | undefined, folder: string): boolean {
  if (!user) return true
  return spawnSync('/bin/sh', ['-c', 'cd "$0"', folder], { ...user, cwd: '/', stdio: 'ignore' }).status === 0
}

/**
 * A folder, made if needed, which belongs to `user`, survives restarts and can be entered: `dir/name` where that works,
 * else one under /var/lib, named by the pointer file `dir/name.location`.
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

/** Removes what `reachableFolder` made, wherever it is. */
export function removeReachableFolder(dir: string, name: string): void {
  for (const folder of [pointed(dir, name), join(dir, name)]) {
    if (folder) rmSync(folder, { recursive: true, force: true })
  }
  rmSync(join(dir, `${name}.location`), { force: true })
}

/** In a folder that lies elsewhere: whose it is. */
const OWNER_FILE = 'belongs-to'

function markOwner(folder: string, dir: string): void {
  writeFileSync(join(folder, OWNER_FILE), `${resolve(dir)}\n`, { mode: 0o644 })
}

/** Folders that lie elsewhere for this `dir`, and that its pointer does not name: `dir` was deleted, and made anew. */
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

/** Where the cluster of the embedded database in `dir` lies, or would lie. */
export function clusterFolder(dir: string): string {
  return join(pointed(dir, 'postgres') ?? join(dir, 'postgres'), 'cluster')
}

function pointed(dir: string, name: string): string | undefined {
  return read(join(dir, `${name}.location`))
}

const SHARED = '/var/lib/distributor'

/** Where only root writes and everybody may look in. */
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
