// Processes are identified by pid and start time: the system may give the same pid to another process later.
import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { setTimeout as wait } from 'node:timers/promises'

export interface ProcessId {
  pid: number
  /** When it started, as the system reports it. Only for comparison. */
  start: string
}

/** The process that has `pid` now, or undefined when there is none (a zombie counts as none). */
export function identify(pid: number): ProcessId | undefined {
  const start = process.platform === 'linux' ? linuxStart(pid) : psStart(pid)
  return start === undefined ? undefined : { pid, start }
}

export function isRunning(id: ProcessId): boolean {
  return identify(id.pid)?.start === id.start
}

/** The command line of `pid`, or an empty text. */
export function commandOf(pid: number): string {
  try {
    return process.platform === 'linux'
      ? readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')
      : execFileSync('ps', ['-o', 'command=', '-p', String(pid)], { encoding: 'utf8' })
  } catch {
    return ''
  }
}

/** The TCP ports that the process listens on; empty on systems other than Linux. */
export function listeningPorts({ pid }: ProcessId): number[] {
  if (process.platform !== 'linux') return []
  try {
    const sockets = new Set(readdirSync(`/proc/${pid}/fd`).map((fd) => linkOf(`/proc/${pid}/fd/${fd}`)))
    return ['tcp', 'tcp6'].flatMap((table) =>
      readFileSync(`/proc/${pid}/net/${table}`, 'utf8')
        .trim()
        .split('\n')
        .slice(1)
        .map((line) => line.trim().split(/\s+/))
        // Local address, state (0A listens) and inode.
        .filter(([, , , state, , , , , , inode]) => state === '0A' && sockets.has(`socket:[${inode}]`))
        .map(([, local]) => Number.parseInt(local!.slice(local!.lastIndexOf(':') + 1), 16)),
    )
  } catch {
    return []
  }
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path)
  } catch {
    // It was closed in the meantime.
    return ''
  }
}

/** True when the process has ended; false if it still runs after `timeoutMs`. */
export async function waitGone(id: ProcessId, timeoutMs: number): Promise<boolean> {
  const until = performance.now() + timeoutMs
  while (isRunning(id)) {
    if (performance.now() > until) return false
    await wait(20)
  }
  return true
}

/** Sends the signals one after another and waits `patienceMs` after each; the last signal is SIGKILL. */
export async function endProcess(id: ProcessId, signals: NodeJS.Signals[], patienceMs: number): Promise<void> {
  for (const signal of [...signals, 'SIGKILL'] as const) {
    if (!isRunning(id)) return
    try {
      process.kill(id.pid, signal)
    } catch {
      // The process ended before the signal was sent.
    }
    if (await waitGone(id, patienceMs)) return
  }
}

function linuxStart(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // The name in parentheses may hold blanks; field 3 (state) follows it, field 22 is the start in ticks since boot.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    if (fields[0] === 'Z' || fields[0] === 'X') return undefined
    return `${readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()}/${fields[19]}`
  } catch {
    return undefined
  }
}

function psStart(pid: number): string | undefined {
  try {
    const line = execFileSync('ps', ['-o', 'stat=,lstart=', '-p', String(pid)], { encoding: 'utf8' }).trim()
    return line === '' || line.startsWith('Z') ? undefined : line.replace(/^\S+\s+/, '')
  } catch {
    return undefined
  }
}
