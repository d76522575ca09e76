// Hands payloads to a few shaping processes and bounds what each may cost: a process that takes too long or too much memory
// is killed, and the next one takes its place. Threads would not do: one that runs out of memory ends the whole process.
import { type ChildProcess, fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { createQueue } from './fair-queue.ts'
import type { Problem } from './json-schema.ts'
import { costlyParts } from './judge.ts'
import type { Order, Outcome, Report, Task } from './messages.ts'
import type { Shaped, ShapingWords } from './shape.ts'
import { ShapingError } from './shaping-error.ts'

export interface Shaper {
  /**
   * @param shapes configurations as they are stored, in the order in which they are applied
   * @param signal ends the waiting with its reason
   * @throws ShapingError when the same would happen again; any other error is a fault of ours or of the machine
   */
  shape(
    tenantId: string,
    shapes: readonly object[],
    payload: Buffer,
    words: ShapingWords,
    signal?: AbortSignal,
  ): Promise<Shaped>
  /** What is wrong with a document (JSON), by its path; @throws ShapingError when that cannot be told within the bounds */
  check(tenantId: string, schema: object | boolean, document: Buffer, signal?: AbortSignal): Promise<Problem[]>
  /** What is wrong with a schema, by the path to it; @throws ShapingError when that cannot be told within the bounds */
  judge(tenantId: string, schema: object | boolean, signal?: AbortSignal): Promise<Problem[]>
  /** What is wrong with the expression and the schema of a shape, by the path from it; @throws ShapingError likewise */
  judgeShape(tenantId: string, shape: unknown, signal?: AbortSignal): Promise<Problem[]>
  /** Ends the processes; what is still under way fails. */
  close(): void
}

export interface ShaperOptions {
  /** Processes at most; they are started when they are needed. */
  processes?: number
  /** Of the processor, for one payload, in milliseconds. */
  timeoutMs?: number
  /** Of each process, in MiB. */
  memoryMb?: number
}

interface Job {
  tenantId: string
  task: Task
  resolve(outcome: Outcome): void
  reject(error: unknown): void
}

interface Seat {
  child: ChildProcess
  ready: boolean
  job: Job | undefined
  since: number
  timer: NodeJS.Timeout | undefined
  stderr: string
}

const START_MS = 60_000
/** After one that did not come up: whatever was in its way will not be gone at once. */
const START_AGAIN_MS = 1000
/** A process that hardly gets to run is ended after so many times its time. That is no fault of what it was to do. */
const PATIENCE = 15
const TOO_LONG = 'SIGXCPU'
/** What V8 ends its process with when it can allocate no more. */
const OUT_OF_MEMORY = new Set<string | null>(['SIGABRT', 'SIGTRAP', 'SIGILL', 'SIGSEGV'])
const PROGRAM = fileURLToPath(new URL('./process.ts', import.meta.url))

export function createShaper({ processes = 2, timeoutMs = 20_000, memoryMb = 512 }: ShaperOptions = {}): Shaper {
  const seats = new Set<Seat>()
  const queue = createQueue<Job>(processes)
  let mayStartAt = 0
  let closed = false

  function run(tenantId: string, task: Task, signal: AbortSignal | undefined): Promise<Outcome> {
    return new Promise((resolve, reject) => {
      if (closed) return reject(new Error('shaping has ended'))
      if (signal?.aborted) return reject(signal.reason)
      const job: Job = { tenantId, task, resolve, reject }
      // What runs already is let run: its time is bounded.
      const giveUp = () => {
        queue.drop(tenantId, job)
        reject(signal?.reason)
      }
      signal?.addEventListener('abort', giveUp)
      const settled = () => signal?.removeEventListener('abort', giveUp)
      job.resolve = (outcome) => {
        settled()
        resolve(outcome)
      }
      job.reject = (error) => {
        settled()
        reject(error)
      }
      queue.add(tenantId, job)
      dispatch()
    })
  }

  function dispatch(): void {
    for (;;) {
      const seat = [...seats].find(({ ready, job }) => ready && !job)
      const next = seat ? queue.next() : undefined
      if (!seat || !next) break
      start(seat, next)
    }
    const starting = [...seats].filter(({ ready }) => !ready).length
    if (closed || seats.size >= processes || starting >= queue.size() || !queue.hasTurn()) return
    const early = mayStartAt - performance.now()
    if (early > 0) setTimeout(dispatch, early).unref()
    else open()
  }

  function start(seat: Seat, job: Job): void {
    seat.job = job
    seat.since = performance.now()
    seat.child.ref()
    seat.timer = setTimeout(() => seat.child.kill('SIGKILL'), timeoutMs * PATIENCE)
    seat.child.send({ ...job.task, id: 0 } satisfies Order, (error) => {
      // Its end says more; without an end, nobody would ever hear of this.
      if (error && seat.child.connected) seat.child.kill('SIGKILL')
    })
  }

  function open(): void {
    let child: ChildProcess
    try {
      child = fork(PROGRAM, [String(timeoutMs)], {
        execArgv: ['--import', import.meta.resolve('tsx'), `--max-old-space-size=${memoryMb}`],
        // Nothing of ours: neither settings nor secrets.
        env: {},
        serialization: 'advanced',
        stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      })
    } catch (error) {
      // Too little memory for one more process, for example.
      mayStartAt = performance.now() + START_AGAIN_MS
      if (seats.size === 0) failWaiting(error as Error)
      return
    }
    const seat: Seat = { child, ready: false, job: undefined, since: 0, timer: undefined, stderr: '' }
    seats.add(seat)
    seat.timer = setTimeout(() => child.kill('SIGKILL'), START_MS)
    child.channel?.unref()
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      seat.stderr = (seat.stderr + text).slice(-2000)
    })
    ;(child.stderr as unknown as { unref?(): void } | null)?.unref?.()
    child.on('message', (report: Report) => hear(seat, report))
    child.on('error', () => child.kill('SIGKILL'))
    child.once('close', (code, signal) => leave(seat, code, signal))
  }

  function hear(seat: Seat, report: Report): void {
    const done = report.kind === 'done' ? report : undefined
    const job = free(seat, done?.used_ms)
    seat.ready = true
    // An idle process keeps nobody from ending.
    seat.child.unref()
    if (done) job?.resolve(done.outcome)
    dispatch()
  }

  function leave(seat: Seat, code: number | null, signal: string | null): void {
    const job = free(seat, undefined)
    seats.delete(seat)
    const end = new Error(`the shaping process ended (${signal ?? code}): ${seat.stderr}`)
    job?.reject(verdict(code, signal) ?? end)
    if (!seat.ready) {
      mayStartAt = performance.now() + START_AGAIN_MS
      // It would be started again and again for jobs that wait.
      if (seats.size === 0) failWaiting(end)
    }
    dispatch()
  }

  /** @param usedMs of the processor; unknown of a process that has ended */
  function free(seat: Seat, usedMs: number | undefined): Job | undefined {
    clearTimeout(seat.timer)
    const { job } = seat
    seat.job = undefined
    if (job) queue.done(job.tenantId, usedMs ?? performance.now() - seat.since)
    return job
  }

  /** What the work itself is to blame for. Whoever else ended the process, the next attempt may do better. */
  function verdict(code: number | null, signal: string | null): ShapingError | undefined {
    if (signal === TOO_LONG) return new ShapingError('limits', `it took longer than ${timeoutMs / 1000} s`)
    if (OUT_OF_MEMORY.has(signal) || code === 134) {
      return new ShapingError('limits', `it takes more than ${memoryMb} MiB of memory`)
    }
    return undefined
  }

  function failWaiting(error: Error): void {
    for (const job of queue.clear()) job.reject(error)
  }

  async function settle(tenantId: string, task: Task, signal: AbortSignal | undefined): Promise<Outcome> {
    const outcome = await run(tenantId, task, signal)
    if (outcome.kind === 'refused') throw new ShapingError(outcome.step, outcome.message)
    if (outcome.kind === 'broken') throw new Error(outcome.error)
    return outcome
  }

  async function problems(tenantId: string, task: Task, signal: AbortSignal | undefined): Promise<Problem[]> {
    const outcome = await settle(tenantId, task, signal)
    if (outcome.kind !== 'checked') throw new Error('an answer to another question')
    return outcome.problems
  }

  return {
    async shape(tenantId, shapes, payload, words, signal) {
      const texts = shapes.map((shape) => JSON.stringify(shape))
      const outcome = await settle(tenantId, { kind: 'shape', shapes: texts, payload, words }, signal)
      if (outcome.kind !== 'shaped') throw new Error('an answer to another question')
      const { body, content_type } = outcome
      return { body: Buffer.from(body.buffer, body.byteOffset, body.byteLength), content_type }
    },
    check(tenantId, schema, document, signal) {
      return problems(tenantId, { kind: 'check', schema: JSON.stringify(schema), document }, signal)
    },
    judge(tenantId, schema, signal) {
      return problems(tenantId, { kind: 'judge', schema: JSON.stringify(schema) }, signal)
    },
    async judgeShape(tenantId, shape, signal) {
      const parts = costlyParts(shape)
      if (!parts) return []
      return await problems(tenantId, { kind: 'judge_shape', parts: JSON.stringify(parts) }, signal)
    },
    close() {
      closed = true
      failWaiting(new Error('shaping has ended'))
      for (const { child } of seats) child.kill('SIGKILL')
    },
  }
}
