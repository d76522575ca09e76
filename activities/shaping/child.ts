// One shaping process: starts it, sends it tasks, watches over it and ends it.
import { spawn } from 'node:child_process'
import type { Done, Order, Report } from './messages.ts'
import { BEATS_FD } from './watch.ts'

/** Limits of one task, beside its processor time. */
export interface Bounds {
  /** Time without any use of the processor. */
  idleMs: number
  /** Elapsed time, which may be long on a busy machine. */
  wallMs: number
  /** Time without a heartbeat. */
  silentMs: number
  /** Heap size. */
  memoryMb: number
}

export interface ChildEvents {
  ready(): void
  done(report: Done): void
  /** Processor time that the present task has used. */
  used(usedMs: number): void
  end(code: number | null, signal: string | null, stderr: string): void
}

export interface Child {
  give(order: Order): void
  kill(): void
}

const START_MS = 60_000
const STDERR_KEPT = 2000

/** @throws when the system cannot start another process */
export function startChild(program: string, bounds: Bounds, events: ChildEvents): Child {
  const { idleMs, wallMs, silentMs, memoryMb } = bounds
  // The program is sent through standard input: the process needs none of our files.
  const child = spawn(
    process.execPath,
    [`--max-old-space-size=${memoryMb}`, '-', String(idleMs), 'shaping'],
    // The environment is empty: no settings and no secrets. Pipes by position: input, output, errors, messages, heartbeats.
    { env: {}, serialization: 'advanced', stdio: ['pipe', 'ignore', 'pipe', 'ipc', 'pipe'] },
  )
  let stderr = ''
  let wall = setTimeout(kill, START_MS)
  let silence: NodeJS.Timeout | undefined

  function kill(): void {
    child.kill('SIGKILL')
  }

  function heard(): void {
    clearTimeout(silence)
    silence = setTimeout(kill, silentMs)
  }

  function rest(): void {
    clearTimeout(wall)
    clearTimeout(silence)
    // An idle process does not keep this one alive.
    child.unref()
  }

  const [input, , errors] = child.stdio
  const beats = child.stdio[BEATS_FD]
  for (const pipe of [input, errors, beats]) {
    // The end of the process is reported with a better reason.
    pipe?.on('error', () => {})
    ;(pipe as unknown as { unref?(): void } | null)?.unref?.()
  }
  ;(input as NodeJS.WritableStream | null)?.end(program)
  ;(errors as NodeJS.ReadableStream | null)?.setEncoding('utf8').on('data', (text: string) => {
    stderr = (stderr + text).slice(-STDERR_KEPT)
  })
  ;(beats as NodeJS.ReadableStream | null)?.setEncoding('utf8').on('data', (text: string) => {
    heard()
    const used = Number(text.trimEnd().split('\n').at(-1))
    if (Number.isFinite(used)) events.used(used)
  })
  child.channel?.unref()
  child.on('message', (report: Report) => {
    rest()
    if (report.kind === 'ready') events.ready()
    else events.done(report)
  })
  child.on('error', kill)
  child.once('close', (code, signal) => {
    clearTimeout(wall)
    clearTimeout(silence)
    events.end(code, signal, stderr)
  })

  return {
    give(order) {
      child.ref()
      wall = setTimeout(kill, wallMs)
      heard()
      child.send(order, (error) => {
        // If the process did not end, its job would wait for ever.
        if (error && child.connected) kill()
      })
    },
    kill,
  }
}
