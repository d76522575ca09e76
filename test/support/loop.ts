// Measures the longest block of the event loop, in milliseconds. On Linux it uses the processor time of this thread, so
// that other programs on a busy machine do not count; elsewhere it uses the clock.
import { closeSync, openSync, readSync } from 'node:fs'

const text = Buffer.alloc(100)

function clock(): { now: () => number; close: () => void } {
  try {
    const file = openSync(`/proc/self/task/${process.pid}/schedstat`, 'r')
    const read = () => Number(text.toString('latin1', 0, readSync(file, text, 0, text.length, 0)).split(' ')[0]) / 1e6
    if (Number.isFinite(read())) return { now: read, close: () => closeSync(file) }
  } catch {}
  return { now: () => performance.now(), close: () => {} }
}

export interface Held {
  /** The longest stretch. */
  longest: number
  /** All of it. */
  total: number
}

/** Runs `work`, and answers how long it held the loop. */
export async function whileRunning(work: () => Promise<unknown>): Promise<Held> {
  const { now, close } = clock()
  const began = now()
  let before = began
  let longest = 0
  const look = () => {
    const at = now()
    longest = Math.max(longest, at - before)
    before = at
  }
  const timer = setInterval(look, 1)
  try {
    await work()
    await new Promise((resolve) => setTimeout(resolve, 3))
  } finally {
    clearInterval(timer)
  }
  look()
  const total = before - began
  close()
  return { longest, total }
}

/** The minimum of several runs, so that garbage collection during one of them does not count. */
export async function leastOf(runs: number, work: () => Promise<unknown>): Promise<Held> {
  const held: Held[] = []
  for (let i = 0; i < runs; i++) held.push(await whileRunning(work))
  return { longest: Math.min(...held.map((one) => one.longest)), total: Math.min(...held.map((one) => one.total)) }
}
