// Why a shaping process ended, and whether its task was the cause.
import type { Bounds } from './child.ts'
import { ShapingError } from './shaping-error.ts'
import { IDLE, TOO_LONG } from './watch.ts'

/** The signals by which V8 ends its process when it is out of memory. */
const OUT_OF_MEMORY = new Set<string | null>(['SIGABRT', 'SIGTRAP', 'SIGILL', 'SIGSEGV'])

/** A ShapingError if the task is the cause, so that a retry fails too; otherwise an error that a retry may not have. */
export function reasonOf(
  { code, signal, stderr }: { code: number | null; signal: string | null; stderr: string },
  limitMs: number,
  { idleMs, memoryMb }: Bounds,
): Error {
  if (signal === TOO_LONG) return new ShapingError('limits', `it took longer than ${limitMs / 1000} s`)
  if (OUT_OF_MEMORY.has(signal) || code === 134) {
    return new ShapingError('limits', `it takes more than ${memoryMb} MiB of memory`)
  }
  if (signal === IDLE) return new Error(`the shaping process made no progress for ${idleMs / 1000} s`)
  return new Error(`the shaping process ended (${signal ?? code}): ${stderr}`)
}
