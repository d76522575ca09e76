// The time of day, as the database has it. What is stored, compared with something stored, or sent to a receiver uses it
// and not this machine's clock, which may be hours away. Durations are measured with `performance.now()`.
import { LIMITS } from './limits.ts'

/** How a jump of this machine's clock, or a pause of the machine, shows; measured anew then. */
const JUMP_MS = 1000

interface Measured {
  /** The database's time at `performance.now()` = 0. */
  epoch: number
  /** This machine's, at the same moment. */
  local: number
}

let measured: Measured | undefined
let onJump: (() => void) | undefined

/** Milliseconds since 1970. Before the database has been asked, this machine's. */
export function now(): number {
  if (!measured) return Date.now()
  if (onJump && Math.abs(localEpoch() - measured.local) > JUMP_MS) onJump()
  return performance.now() + measured.epoch
}

/** The same, for what wants a Date. */
export function nowDate(): Date {
  return new Date(now())
}

/** How far this machine's clock is ahead of the database's, in milliseconds; negative when it is behind. */
export function aheadMs(): number {
  return measured ? localEpoch() - measured.epoch : 0
}

/** What `ready` shows; undefined while the clocks agree. */
export function clockWarning(): string | undefined {
  const seconds = Math.round(aheadMs() / 1000)
  if (Math.abs(aheadMs()) <= LIMITS.clockOffset.value) return undefined
  const where = seconds > 0 ? 'ahead of' : 'behind'
  return `the clock of this machine is ${Math.abs(seconds)} s ${where} that of the database, by which all times are told`
}

/** Notes that the database's time was `databaseMs` when `performance.now()` was `at`. */
export function setClock(databaseMs: number, at: number, jumped?: () => void): void {
  measured = { epoch: databaseMs - at, local: localEpoch() }
  onJump = jumped
}

/** For tests: this machine's clock again. */
export function forgetClock(): void {
  measured = undefined
  onJump = undefined
}

function localEpoch(): number {
  return Date.now() - performance.now()
}
