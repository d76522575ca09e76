// Watches a shaping process from a thread of its own: a loop or a regular expression may keep the main thread busy.

export interface Watched {
  /** The number of the present order, 0 for none; and the processor time that it may use, in milliseconds. */
  order: Int32Array
  /** Time that an order may take without using the processor. */
  idleMs: number
}

/** An order used too much processor time. Elapsed time does not count, because the machine may be busy. */
export const TOO_LONG = 'SIGXCPU'
/** An order made no progress: it waits for something. */
export const IDLE = 'SIGUSR2'
/** The thread writes here how much processor time the present order has used, in ms, one line each. */
export const BEATS_FD = 4
const BEAT_MS = 100
/** The watch itself costs up to this much processor time between two heartbeats. */
const NOTHING_MS = 2

/**
 * Idle time is counted in the thread's own heartbeats: when the machine gives the process no time, there are no heartbeats.
 * It also ends the process when the parent has ended.
 */
export const WATCH = `
const { parentPort, workerData } = require('node:worker_threads')
const { writeSync } = require('node:fs')
const { order, idleMs } = workerData
const parent = process.ppid
let watched = 0
let began = 0
let last = 0
let idle = 0
setInterval(() => {
  if (process.ppid !== parent) process.kill(process.pid, 'SIGKILL')
  const { user, system } = process.cpuUsage()
  const used = (user + system) / 1000
  const current = Atomics.load(order, 0)
  if (current !== watched) [watched, began, idle] = [current, used, 0]
  else if (current !== 0) {
    idle = used - last < ${NOTHING_MS} ? idle + ${BEAT_MS} : 0
    try {
      writeSync(${BEATS_FD}, Math.round(used - began) + '\\n')
    } catch (error) {
      if (error.code !== 'EAGAIN') process.kill(process.pid, 'SIGKILL')
    }
    if (used - began > Atomics.load(order, 1)) process.kill(process.pid, '${TOO_LONG}')
    else if (idle > idleMs) process.kill(process.pid, '${IDLE}')
  }
  last = used
}, ${BEAT_MS})
parentPort.postMessage('watching')
`
