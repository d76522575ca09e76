// One shaping process: started, given orders, listened to, and ended. It belongs to the first tenant that it works for.
import { spawn } from 'node:child_process'
import type { Done, Order, Report } from './messages.ts'
import { BEATS_FD } from './watch.ts'

/** What may be asked of one order. */
export interface Bounds {
  /** Of the processor. */
  limitMs: number
  /** Without any use of the processor. */
  idleMs: number
  /** By the clock, which says little on a busy machine. */
  wallMs: number
  /** Without a sign of life of the process. */
  silentMs: number
  /** Of the process's heap. */
  memoryMb: number
}

export interface SeatEvents {
  ready(): void
  done(report: Done): void
  /** How much of the processor's time the present order has used. */
  used(usedMs: number): void
  end(code: number | null, signal: string | null, stderr: string): void
}

export interface Seat {
  give(order: Order): void
  kill(): void
}

const START_MS = 60_000
const STDERR_KEPT = 2000

/** @throws when the system has no process left to give */
export function openSeat(program: string, bounds: Bounds, events: SeatEvents): Seat {
  const { limitMs, idleMs, wallMs, silentMs, memoryMb } = bounds
  // The program comes through standard input: the process needs no file of ours.
  const child = spawn(
    process.execPath,
    [`--max-old-space-size=${memoryMb}`, '-', String(limitMs), String(idleMs), 'shaping'],
    // Nothing of ours: neither settings nor secrets. By position: input, output, errors, messages, beats.
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
    // An idle process keeps nobody from ending.
    child.unref()
  }

  const [input, , errors] = child.stdio
  const beats = child.stdio[BEATS_FD]
  for (const pipe of [input, errors, beats]) {
    // Its end says more.
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
        // Without an end, nobody would ever hear of this.
        if (error && child.connected) kill()
      })
    },
    kill,
  }
}
