// The time of day by the database's clock. Use it for every time that is stored, compared with a stored time, or sent to a
// receiver; this machine's clock may be hours wrong. Durations are measured with `performance.now()`.
import { LIMITS } from './limits.ts'

/** A larger change means that this machine's clock jumped or the machine paused; then the time is measured again. */
const JUMP_MS = 1000

interface Measured {
  /** The database's time at `performance.now()` = 0. */
  epoch: number
  /** This machine's, at the same moment. */
  local: number
}

let measured: Measured | undefined
let onJump: (() => void) | undefined

/** Milliseconds since 1970. Before the database has been asked, by this machine's clock. */
export function now(): number {
  if (!measured) return Date.now()
  if (onJump && Math.abs(localEpoch() - measured.local) > JUMP_MS) onJump()
  return performance.now() + measured.epoch
}

export function nowDate(): Date {
  return new Date(now())
}

/** How far this machine's clock is ahead of the database's, in milliseconds; negative when it is behind. */
export function aheadMs(): number {
  return measured ? localEpoch() - measured.epoch : 0
}

/** The warning that `ready` shows; undefined while the clocks agree. */
export function clockWarning(): string | undefined {
  const seconds = Math.round(aheadMs() / 1000)
  if (Math.abs(aheadMs()) <= LIMITS.clockOffset.value) return undefined
  const where = seconds > 0 ? 'ahead of' : 'behind'
  return `the clock of this machine is ${Math.abs(seconds)} s ${where} the clock of the database, which all times are taken from`
}

/** Notes that the database's time was `databaseMs` when `performance.now()` was `at`. */
export function setClock(databaseMs: number, at: number, jumped?: () => void): void {
  measured = { epoch: databaseMs - at, local: localEpoch() }
  onJump = jumped
}

/** For tests: uses this machine's clock again. */
export function forgetClock(): void {
  measured = undefined
  onJump = undefined
}

function localEpoch(): number {
  return Date.now() - performance.now()
}
