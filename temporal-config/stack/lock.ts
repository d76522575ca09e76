// One embedded stack per DATA_DIR. The lock file names everything that runs there, by pid and start time, so that a
// start after a kill -9 can end the processes that were left behind, and no others.
import { linkSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { endProcess, isRunning, type ProcessId, waitGone } from './processes.ts'

export interface StackAddresses {
  /** The superuser's connection. */
  postgres?: { url: string; port: number }
  /** `ports`: all that it listens on. */
  temporal?: { address: string; ui_url?: string | undefined; ports?: number[] }
}

export interface Holder extends ProcessId {
  /** The command as a person knows it, such as `npm start`. */
  what: string
}

interface LockContent {
  since: string
  holder: Holder
  supervisor: ProcessId
  servers: Record<string, ProcessId>
  /** Once all servers answer. */
  addresses?: StackAddresses
}

export interface HeldLock {
  /** Adds a server, or replaces the one of this name. */
  record(name: string, id: ProcessId): void
  /** Tells other processes, for `runningAddresses`. */
  publish(addresses: StackAddresses): void
  release(): void
}

/** The folder is in use; the message names the process that uses it. */
export class LockHeld extends Error {}

const LOOK_MS = 1_000

const STOP_SIGNALS: Record<string, NodeJS.Signals[]> = { postgres: ['SIGINT', 'SIGQUIT'], temporal: ['SIGTERM'] }

/**
 * Takes the lock of `dataDir`. Stops the servers that a killed holder left running; throws `LockHeld` if a holder
 * lives.
 */
export async function takeLock(
  dataDir: string,
  holder: Holder,
  supervisor: ProcessId,
  say: (line: string) => void,
): Promise<HeldLock> {
  const file = lockFile(dataDir)
  const content: LockContent = { since: new Date().toISOString(), holder, supervisor, servers: {} }
  const part = `${file}.${process.pid}`
  const write = () => writeFileSync(part, `${JSON.stringify(content, null, 2)}\n`, { mode: 0o600 })
  for (;;) {
    write()
    try {
      // A link appears completely or not at all, and never replaces another one.
      linkSync(part, file)
      break
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
      await clear(dataDir, file, say)
    } finally {
      rmSync(part, { force: true })
    }
  }
  const rewrite = () => {
    write()
    renameSync(part, file)
  }
  return {
    record(name, id) {
      content.servers[name] = id
      rewrite()
    },
    publish(addresses) {
      content.addresses = addresses
      rewrite()
    },
    release: () => rmSync(file, { force: true }),
  }
}

/** What `LockHeld` would say if `dataDir` is in use now. */
export function usedBy(dataDir: string): string | undefined {
  const content = parse(read(lockFile(dataDir)))
  return content && isRunning(content.holder) ? inUse(dataDir, content) : undefined
}

/** The addresses of what a living process keeps running in `dataDir`. */
export function runningAddresses(dataDir: string): StackAddresses | undefined {
  const content = parse(read(lockFile(dataDir)))
  return content && isRunning(content.holder) ? content.addresses : undefined
}

/** The same for repeated calls: checks the file at most once a second, and reads it only if it has changed. */
export function watchAddresses(dataDir: string): () => StackAddresses | undefined {
  let seen: { until: number; stamp: string; addresses: StackAddresses | undefined } | undefined
  return () => {
    const now = performance.now()
    if (seen && now < seen.until) return seen.addresses
    const stamp = stampOf(lockFile(dataDir))
    const addresses = seen?.stamp === stamp ? seen.addresses : runningAddresses(dataDir)
    seen = { until: now + LOOK_MS, stamp, addresses }
    return addresses
  }
}

function stampOf(file: string): string {
  const found = statSync(file, { throwIfNoEntry: false })
  return found ? `${found.ino} ${found.mtimeMs}` : ''
}

/** Ends the servers of a supervisor that was killed while its holder, this process, lives on. */
export async function endLeftBehind(dataDir: string): Promise<void> {
  const file = lockFile(dataDir)
  const content = parse(read(file))
  if (content?.holder.pid !== process.pid || isRunning(content.supervisor)) return
  for (const [name, id] of Object.entries(content.servers).reverse()) {
    await endProcess(id, STOP_SIGNALS[name] ?? ['SIGTERM'], 20_000)
  }
  rmSync(file, { force: true })
}

function lockFile(dataDir: string): string {
  return join(dataDir, 'lock.json')
}

function inUse(dataDir: string, { holder: { what, pid }, since }: LockContent): string {
  return `${dataDir} is in use by ${what} (pid ${pid}, since ${since}): stop it, or set DATA_DIR`
}

async function clear(dataDir: string, file: string, say: (line: string) => void): Promise<void> {
  const text = read(file)
  const old = parse(text)
  if (old) {
    if (isRunning(old.holder)) {
      throw new LockHeld(inUse(dataDir, old))
    }
    if (isRunning(old.supervisor)) {
      say(`waiting for the servers of an earlier ${old.holder.what} (pid ${old.holder.pid}) to stop`)
      if (!(await waitGone(old.supervisor, 60_000))) await endProcess(old.supervisor, [], 5000)
    }
    for (const [name, id] of Object.entries(old.servers)) {
      if (!isRunning(id)) continue
      say(`ending ${name} (pid ${id.pid}), left behind by ${old.holder.what} (pid ${old.holder.pid})`)
      await endProcess(id, STOP_SIGNALS[name] ?? ['SIGTERM'], 20_000)
    }
  }
  // Another process may have removed it meanwhile and taken the lock; that lock must not be removed.
  if (read(file) === text) rmSync(file, { force: true })
  else await wait(50)
}

function read(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return undefined
  }
}

function parse(text: string | undefined): LockContent | undefined {
  try {
    return text === undefined ? undefined : (JSON.parse(text) as LockContent)
  } catch {
    return undefined
  }
}
