// The thread that watches a shaping process: when it ends the process, and what it reports.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { describe, expect, it } from 'vitest'
import { reasonOf } from '../../../activities/shaping/end-reason.ts'
import { ShapingError } from '../../../activities/shaping/shaping-error.ts'
import { BEATS_FD, IDLE, TOO_LONG, WATCH } from '../../../activities/shaping/watch.ts'

const LIMIT_MS = 600
const BOUNDS = { idleMs: 600, wallMs: 0, silentMs: 0, memoryMb: 1 }

/** A process with an order under way that runs `work`; how it ended, and what the thread told. */
async function watched(work: string): Promise<{ signal: string; beats: number[] }> {
  const program = `
    const { Worker } = require('node:worker_threads')
    const order = new Int32Array(new SharedArrayBuffer(8))
    const workerData = { order, idleMs: ${BOUNDS.idleMs} }
    const watch = new Worker(${JSON.stringify(WATCH)}, { eval: true, workerData })
    watch.once('message', () => { order[1] = ${LIMIT_MS}; order[0] = 1; ${work} })`
  const child = spawn(process.execPath, ['-e', program], { stdio: ['ignore', 'ignore', 'inherit', 'pipe', 'pipe'] })
  let told = ''
  ;(child.stdio[BEATS_FD] as NodeJS.ReadableStream).on('data', (data) => {
    told += data
  })
  const [, signal] = (await once(child, 'close')) as [unknown, string]
  return { signal, beats: told.trim().split('\n').map(Number) }
}

describe('the watch of a shaping process', () => {
  it('ends what uses too much of the processor, which is the fault of the work', async () => {
    const { signal, beats } = await watched('for (;;);')
    expect(signal).toBe(TOO_LONG)
    expect(beats.at(-1)).toBeGreaterThan(200)
    const reason = reasonOf({ code: null, signal, stderr: '' }, LIMIT_MS, BOUNDS)
    expect(reason).toBeInstanceOf(ShapingError)
    expect(reason.message).toBe('it took longer than 0.6 s')
  })

  it('ends what waits without using the processor, which may be the fault of the machine', async () => {
    const { signal, beats } = await watched('setInterval(() => {}, 1e6)')
    expect(signal).toBe(IDLE)
    expect(Math.max(...beats)).toBeLessThan(LIMIT_MS)
    const reason = reasonOf({ code: null, signal, stderr: '' }, LIMIT_MS, BOUNDS)
    expect(reason).not.toBeInstanceOf(ShapingError)
    expect(reason.message).toMatch(/made no progress for 0.6 s/)
  })
})
