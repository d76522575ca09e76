// Starts, watches and stops the embedded servers. They run under a separate supervisor process, so that neither Ctrl-C nor
// a crash of this process stops them before the parts that need them have drained.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, mkdirSync, openSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { fetchingEnvironment } from '../process/settings.ts'
import { loginUrl } from './database.ts'
import { endLeftBehind, runningAddresses, type StackAddresses } from './lock.ts'
import { identify, type ProcessId } from './processes.ts'
import type { SupervisorOrder, SupervisorReport } from './supervisor.ts'

export interface StackOptions {
  data_dir: string
  /** The folder is deleted when the servers stop, also when this process is killed. */
  temporary?: boolean
  /** The command, such as `npm start`; the error of a second start on the same folder names it. */
  what: string
  /** Absent: no embedded PostgreSQL. A taken port gives the next free one. */
  postgres?: { port: number; durable?: boolean }
  /** Absent: no embedded Temporal. `keep: false` forgets everything at the end. */
  temporal?: { cli?: string | undefined; port: number; ui_port?: number | undefined; namespace: string; keep?: boolean }
  say: (line: string) => void
  /** Aborts the start: the servers that have started are stopped, and `startStack` throws. */
  signal?: AbortSignal
}

export interface Stack extends StackAddresses {
  supervisor: ProcessId
  /** Settles with the reason when the servers end without a call of `stop`; never after `stop`. */
  lost: Promise<string>
  /** Ends Temporal, then PostgreSQL, and returns once both are gone. */
  stop(): Promise<void>
}

/** The stack cannot start; the message is for the person who started it. */
export class StackRefused extends Error {}

/**
 * Starts the supervisor and the servers; throws `StackRefused` when the folder is in use or a server does not start.
 */
export async function startStack(options: StackOptions): Promise<Stack> {
  const { child, stdin, stdout, log } = launchSupervisor(options.data_dir)
  const id = identify(child.pid!) ?? { pid: child.pid!, start: 'ended at once' }
  const exited = once(child, 'exit')
  let stopped = false
  let up = false
  let lose: (reason: string) => void = () => {}
  const lost = new Promise<string>((resolve) => {
    lose = resolve
  })
  const addresses = await new Promise<StackAddresses>((ready, refuse) => {
    let reason = `the supervisor of the embedded servers ended; see ${log}`
    createInterface({ input: stdout }).on('line', (line) => {
      const report = JSON.parse(line) as SupervisorReport
      if ('say' in report) options.say(report.say)
      else if ('restarted' in report) options.say(`${report.restarted} is up again`)
      else if ('ready' in report) {
        up = true
        ready(report.ready)
      } else reason = 'refused' in report ? report.refused : report.failed
    })
    void exited.then(() => {
      refuse(new StackRefused(reason))
      if (!stopped) lose(reason)
    })
    stdin.on('error', () => {})
    options.signal?.addEventListener('abort', () => {
      if (!up) stdin.end()
    })
    stdin.write(`${JSON.stringify(orderOf(options))}\n`)
  })
  return {
    ...addresses,
    supervisor: id,
    lost,
    async stop() {
      stopped = true
      stdin.end()
      await exited
      await endLeftBehind(resolve(options.data_dir))
    },
  }
}

/** The servers that another process runs in `dataDir`, for a process without own servers; undefined if there are none. */
export function runningStack(dataDir: string): { database_url?: string; temporal_address?: string } | undefined {
  const addresses = runningAddresses(resolve(dataDir))
  if (!addresses) return undefined
  return {
    ...(addresses.postgres ? { database_url: loginUrl(addresses.postgres.url, dataDir) } : {}),
    ...(addresses.temporal ? { temporal_address: addresses.temporal.address } : {}),
  }
}

function launchSupervisor(dataDir: string) {
  const folder = resolve(dataDir)
  mkdirSync(folder, { recursive: true, mode: 0o711 })
  const log = join(folder, 'supervisor.log')
  const errors = openSync(log, 'a', 0o600)
  const tsx = pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href
  const program = fileURLToPath(new URL('supervisor.ts', import.meta.url))
  const child = spawn(process.execPath, ['--import', tsx, program], {
    detached: true,
    // It fetches the program of Temporal where there is none.
    env: fetchingEnvironment(),
    stdio: ['pipe', 'pipe', errors],
  })
  closeSync(errors)
  return { child, stdin: child.stdin as Writable, stdout: child.stdout as Readable, log }
}

function orderOf(options: StackOptions): SupervisorOrder {
  return {
    data_dir: options.data_dir,
    temporary: options.temporary ?? false,
    holder: { ...identify(process.pid)!, what: options.what },
    ...(options.postgres ? { postgres: { durable: true, ...options.postgres } } : {}),
    ...(options.temporal ? { temporal: { keep: true, ...options.temporal } } : {}),
  }
}
