// Hands payloads to a few shaping processes and bounds what each may cost: a process that takes too long or too much memory
// is killed, and the next one takes its place. Threads would not do: one that runs out of memory ends the whole process.
import { type ChildProcess, fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { Problem } from './json-schema.ts'
import type { Order, Report, Task } from './messages.ts'
import type { Shaped, ShapingWords } from './shape.ts'
import { ShapingError } from './shaping-error.ts'

export interface Shaper {
  /**
   * @param shapes configurations as they are stored, in the order in which they are applied
   * @throws ShapingError when the same would happen again; any other error is a fault of ours or of the machine
   */
  shape(tenantId: string, shapes: readonly object[], payload: Buffer, words: ShapingWords): Promise<Shaped>
  /** What is wrong with a document (JSON), by its path; @throws ShapingError when that cannot be told within the bounds */
  check(tenantId: string, schema: object | boolean, document: Buffer): Promise<Problem[]>
  /** What is wrong with a schema, by the path to it; @throws ShapingError when that cannot be told within the bounds */
  judge(tenantId: string, schema: object | boolean): Promise<Problem[]>
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
  resolve(report: Report): void
  reject(error: Error): void
}

interface Seat {
  child: ChildProcess
  ready: boolean
  job: Job | undefined
  timer: NodeJS.Timeout | undefined
  /** Why we ended it ourselves. */
  verdict: Error | undefined
  stderr: string
}

const START_MS = 60_000
/** On a machine so busy that a process hardly gets to run, it is ended after so many times its time. */
const PATIENCE = 6
const TOO_LONG = 'SIGXCPU'
/** What V8 ends its process with when it can allocate no more. */
const OUT_OF_MEMORY = new Set<string | null>(['SIGABRT', 'SIGTRAP', 'SIGILL', 'SIGSEGV'])
const PROGRAM = fileURLToPath(new URL('./process.ts', import.meta.url))

export function createShaper({ processes = 2, timeoutMs = 20_000, memoryMb = 512 }: ShaperOptions = {}): Shaper {
  const seats = new Set<Seat>()
  // By tenant, the one that has waited longest for its turn first: a thousand jobs of one do not hold up another's.
  const waiting = new Map<string, Job[]>()
  /** One tenant never has them all, or its slow expression would be everybody's. */
  const mostOfOne = Math.max(1, processes - 1)
  let closed = false

  function run(tenantId: string, task: Task): Promise<Report> {
    return new Promise((resolve, reject) => {
      if (closed) return reject(new Error('shaping has ended'))
      const jobs = waiting.get(tenantId) ?? []
      jobs.push({ tenantId, task, resolve, reject })
      waiting.set(tenantId, jobs)
      dispatch()
    })
  }

  function dispatch(): void {
    for (;;) {
      const seat = [...seats].find(({ ready, job }) => ready && !job)
      const next = seat ? nextJob() : undefined
      if (!seat || !next) break
      start(seat, next)
    }
    const starting = [...seats].filter(({ ready }) => !ready).length
    if (seats.size < processes && starting < countWaiting() && hasTurn()) seats.add(open())
  }

  function countWaiting(): number {
    let count = 0
    for (const jobs of waiting.values()) count += jobs.length
    return count
  }

  function runningOf(tenantId: string): number {
    return [...seats].filter(({ job }) => job?.tenantId === tenantId).length
  }

  function hasTurn(): boolean {
    return [...waiting.keys()].some((tenantId) => runningOf(tenantId) < mostOfOne)
  }

  function nextJob(): Job | undefined {
    for (const [tenantId, jobs] of waiting) {
      if (runningOf(tenantId) >= mostOfOne) continue
      const job = jobs.shift()
      waiting.delete(tenantId)
      // To the end of the line.
      if (jobs.length > 0) waiting.set(tenantId, jobs)
      if (job) return job
    }
    return undefined
  }

  function start(seat: Seat, job: Job): void {
    seat.job = job
    seat.child.ref()
    seat.timer = setTimeout(() => {
      seat.verdict = tooLong()
      seat.child.kill('SIGKILL')
    }, timeoutMs * PATIENCE)
    seat.child.send({ ...job.task, id: 0 } satisfies Order, (error) => {
      // Its end says more; without an end, nobody would ever hear of this.
      if (error && seat.child.connected) seat.child.kill('SIGKILL')
    })
  }

  function tooLong(): Error {
    return new ShapingError('limits', `it took longer than ${timeoutMs / 1000} s`)
  }

  function open(): Seat {
    const child = fork(PROGRAM, [String(timeoutMs)], {
      execArgv: ['--import', import.meta.resolve('tsx'), `--max-old-space-size=${memoryMb}`],
      // Nothing of ours: neither settings nor secrets.
      env: {},
      serialization: 'advanced',
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    })
    const seat: Seat = { child, ready: false, job: undefined, timer: undefined, verdict: undefined, stderr: '' }
    seat.timer = setTimeout(() => child.kill('SIGKILL'), START_MS)
    child.channel?.unref()
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      seat.stderr = (seat.stderr + text).slice(-2000)
    })
    ;(child.stderr as unknown as { unref?(): void } | null)?.unref?.()
    child.on('message', (report: Report) => hear(seat, report))
    child.on('error', () => child.kill('SIGKILL'))
    child.once('close', (code, signal) => leave(seat, code, signal))
    return seat
  }

  function hear(seat: Seat, report: Report): void {
    clearTimeout(seat.timer)
    const { job } = seat
    seat.ready = true
    seat.job = undefined
    // An idle process keeps nobody from ending.
    seat.child.unref()
    if (report.kind !== 'ready') job?.resolve(report)
    dispatch()
  }

  function leave(seat: Seat, code: number | null, signal: string | null): void {
    clearTimeout(seat.timer)
    seats.delete(seat)
    const memory = OUT_OF_MEMORY.has(signal) || code === 134
    if (signal === TOO_LONG) seat.verdict ??= tooLong()
    const end = new Error(`the shaping process ended (${signal ?? code}): ${seat.stderr}`)
    seat.job?.reject(
      seat.verdict ?? (memory ? new ShapingError('limits', `it takes more than ${memoryMb} MiB of memory`) : end),
    )
    // One that never came up would be started again and again for jobs that wait.
    if (!seat.ready && seats.size === 0) failWaiting(end)
    dispatch()
  }

  function failWaiting(error: Error): void {
    const all = [...waiting.values()].flat()
    waiting.clear()
    for (const job of all) job.reject(error)
  }

  async function outcome(tenantId: string, task: Task): Promise<Report> {
    const report = await run(tenantId, task)
    if (report.kind === 'refused') throw new ShapingError(report.step, report.message)
    if (report.kind === 'broken') throw new Error(report.error)
    return report
  }

  return {
    async shape(tenantId, shapes, payload, words) {
      const texts = shapes.map((shape) => JSON.stringify(shape))
      const report = await outcome(tenantId, { kind: 'shape', shapes: texts, payload, words })
      if (report.kind !== 'shaped') throw new Error('an answer to another question')
      const { body, content_type } = report
      return { body: Buffer.from(body.buffer, body.byteOffset, body.byteLength), content_type }
    },
    async check(tenantId, schema, document) {
      const report = await outcome(tenantId, { kind: 'check', schema: JSON.stringify(schema), document })
      if (report.kind !== 'checked') throw new Error('an answer to another question')
      return report.problems
    },
    async judge(tenantId, schema) {
      const report = await outcome(tenantId, { kind: 'judge', schema: JSON.stringify(schema) })
      if (report.kind !== 'checked') throw new Error('an answer to another question')
      return report.problems
    },
    close() {
      closed = true
      failWaiting(new Error('shaping has ended'))
      for (const { child } of seats) child.kill('SIGKILL')
    },
  }
}
