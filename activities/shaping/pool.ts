// Assigns shaping processes to tenants. A process is kept for a while for its tenant's next payload. If there are more tenants
// than processes, an idle process is given to another tenant and forgets everything of the previous one. After an expression
// that can change objects, a process is never given to another tenant: it is ended.
import { LIMITS } from '../../db/limits.ts'
import { bundled } from './bundle.ts'
import { type Bounds, type Child, startChild } from './child.ts'
import { reasonOf } from './end-reason.ts'
import { createQueue } from './fair-queue.ts'
import type { Done, Outcome, Task } from './messages.ts'
import { TOO_LONG } from './watch.ts'

export interface Pool {
  /** @throws ShapingError when the task itself is the cause */
  run(tenantId: string, task: Task, signal: AbortSignal | undefined): Promise<Outcome>
  close(): void
}

interface Job {
  tenantId: string
  task: Task
  /** Its caller no longer waits for it. */
  gone: boolean
  resolve(outcome: Outcome): void
  reject(error: unknown): void
}

interface Worker {
  child: Child
  state: 'starting' | 'ready' | 'ending'
  /** Undefined until it gets its first job. */
  tenantId: string | undefined
  job: Job | undefined
  since: number
  /** Processor time of the present job. */
  usedMs: number
  /** Processor time since the process began to work for this tenant. */
  tenantMs: number
  /** It must not serve another tenant. */
  bound: boolean
  /** It was ended so that another tenant gets its slot. */
  preempted: boolean
  /** Ends the process when it has been idle for too long. */
  expiry: NodeJS.Timeout | undefined
}

/** Wait after a process did not start, because the cause may last for a while. */
const START_AGAIN_MS = 1000
/** A process first serves its tenant for this long, because to start one costs as much as some ten small payloads. */
const TENANT_MS = 200
/** A process that holds more memory after its work is ended, because it would keep the memory of a large payload. */
const MAX_IDLE_BYTES = 268_435_456

export interface PoolOptions extends Bounds {
  slots: number
  /** Processes at once, working or idle. */
  kept: number
  /** Processor time of a task. */
  limitMs: number
  /** Processor time to check a document. */
  checkMs: number
}

export function createPool({ slots, kept, limitMs, checkMs, ...bounds }: PoolOptions): Pool {
  const workers = new Set<Worker>()
  const queue = createQueue<Job>(slots)
  const most = Math.max(slots, kept)
  let program: string | undefined
  let loading = false
  let mayStartAt = 0
  let closed = false
  load()

  function load(): void {
    loading = true
    bundled().then(
      (bundle) => {
        loading = false
        program = bundle.program
        dispatch()
      },
      (error) => {
        loading = false
        mayStartAt = performance.now() + START_AGAIN_MS
        failWaiting(error as Error)
      },
    )
  }

  function dispatch(): void {
    while (!closed && working() < slots) {
      const open = openToAll()
      const next = queue.next((tenantId) => open !== undefined || idleOf(tenantId) !== undefined)
      if (!next) break
      start(idleOf(next.tenantId) ?? open!, next)
    }
    makeRoom()
    startProcess()
  }

  function working(): number {
    let count = 0
    for (const { job } of workers) if (job) count += 1
    return count
  }

  function idleOf(tenantId: string): Worker | undefined {
    for (const worker of workers) {
      if (worker.state === 'ready' && !worker.job && worker.tenantId === tenantId) return worker
    }
    return undefined
  }

  /** A process without a tenant; if no more may be started, an idle one that may serve another tenant. */
  function openToAll(): Worker | undefined {
    for (const worker of workers) if (worker.state === 'ready' && worker.tenantId === undefined) return worker
    return workers.size < most ? undefined : longestIdle((worker) => !worker.bound)
  }

  function start(worker: Worker, job: Job): void {
    clearTimeout(worker.expiry)
    if (worker.tenantId !== job.tenantId) worker.tenantMs = 0
    worker.tenantId = job.tenantId
    worker.job = job
    worker.since = performance.now()
    worker.usedMs = 0
    worker.child.give({ ...job.task, tenantId: job.tenantId, limitMs: limitOf(job) })
  }

  function limitOf({ task }: Job): number {
    return task.kind === 'check' ? checkMs : limitMs
  }

  /** Preempts long work, once, for tenants that hold no slot; it runs again later, among the slow tenants. */
  function makeRoom(): void {
    if (closed || !queue.isCrowded()) return
    let latest: Worker | undefined
    for (const worker of workers) {
      if (worker.preempted) return
      if (worker.job && (latest === undefined || worker.usedMs < latest.usedMs)) latest = worker
    }
    if (!latest) return
    latest.preempted = true
    retire(latest)
  }

  function retire(worker: Worker): void {
    worker.state = 'ending'
    worker.child.kill()
  }

  /** Starts a process for a tenant that waits, or a spare one for the next tenant if others exist already. */
  function startProcess(): void {
    const waits = working() < slots && queue.hasNext()
    const fresh = [...workers].filter(({ state, tenantId }) => state !== 'ending' && tenantId === undefined).length
    const wanted = waits ? Math.min(slots, queue.size()) : workers.size > 0 ? 1 : 0
    if (closed || fresh >= wanted) return
    if (workers.size >= most) {
      const ending = [...workers].some(({ state }) => state === 'ending')
      const idle = waits && !ending ? longestIdle() : undefined
      if (idle) retire(idle)
      return
    }
    if (program === undefined && loading) return
    const early = mayStartAt - performance.now()
    if (early > 0) setTimeout(dispatch, early).unref()
    else if (program === undefined) load()
    else open(program)
  }

  function longestIdle(may: (worker: Worker) => boolean = () => true): Worker | undefined {
    let found: Worker | undefined
    for (const worker of workers) {
      if (worker.state !== 'ready' || worker.job || worker.tenantId === undefined || !may(worker)) continue
      if (found === undefined || worker.since < found.since) found = worker
    }
    return found
  }

  function open(source: string): void {
    const worker: Omit<Worker, 'child'> = {
      state: 'starting',
      tenantId: undefined,
      job: undefined,
      since: 0,
      usedMs: 0,
      tenantMs: 0,
      bound: false,
      preempted: false,
      expiry: undefined,
    }
    try {
      const child = startChild(source, bounds, {
        ready() {
          whole.state = 'ready'
          rest(whole)
          dispatch()
        },
        done: (report) => done(whole, report),
        used(usedMs) {
          if (!whole.job) return
          whole.usedMs = usedMs
          queue.takes(whole.job.tenantId, usedMs)
          makeRoom()
        },
        end: (code, signal, stderr) => end(whole, code, signal, stderr),
      })
      const whole: Worker = Object.assign(worker, { child })
      workers.add(whole)
    } catch (error) {
      // For example, there is not enough memory for another process.
      mayStartAt = performance.now() + START_AGAIN_MS
      if (workers.size === 0) failWaiting(error as Error)
    }
  }

  function rest(worker: Worker): void {
    worker.since = performance.now()
    worker.expiry = setTimeout(() => retire(worker), LIMITS.shapingKeep.value)
    worker.expiry.unref()
  }

  function done(worker: Worker, { outcome, used_ms, held_bytes, bound }: Done): void {
    const { job } = worker
    if (!job) return
    worker.job = undefined
    worker.bound = bound
    worker.tenantMs += used_ms
    queue.done(job.tenantId, used_ms)
    rest(worker)
    job.resolve(outcome)
    if (held_bytes > MAX_IDLE_BYTES) retire(worker)
    const next = worker.state === 'ready' && worker.tenantMs < TENANT_MS ? queue.nextOf(job.tenantId) : undefined
    if (next) start(worker, next)
    else {
      worker.tenantMs = 0
      dispatch()
    }
  }

  function end(worker: Worker, code: number | null, signal: string | null, stderr: string): void {
    const { job } = worker
    workers.delete(worker)
    clearTimeout(worker.expiry)
    if (job) {
      queue.done(job.tenantId, Math.max(worker.usedMs, signal === TOO_LONG ? limitOf(job) : 0))
      worker.job = undefined
      if (worker.preempted && !job.gone && !closed) {
        queue.preempted(job.tenantId)
        queue.putBack(job.tenantId, job)
      } else job.reject(reasonOf({ code, signal, stderr }, limitOf(job), bounds))
    }
    if (worker.state === 'starting') {
      mayStartAt = performance.now() + START_AGAIN_MS
      // Otherwise processes would be started again and again for the waiting jobs.
      if (workers.size === 0) failWaiting(reasonOf({ code, signal, stderr }, limitMs, bounds))
    }
    dispatch()
  }

  function failWaiting(error: Error): void {
    for (const job of queue.clear()) job.reject(error)
  }

  return {
    run(tenantId, task, signal) {
      return new Promise((resolve, reject) => {
        if (closed) return reject(new Error('shaping has ended'))
        if (signal?.aborted) return reject(signal.reason)
        const settled = () => signal?.removeEventListener('abort', giveUp)
        const job: Job = {
          tenantId,
          task,
          gone: false,
          resolve(outcome) {
            settled()
            resolve(outcome)
          },
          reject(error) {
            settled()
            reject(error)
          },
        }
        // A job that runs already continues, because its time is bounded.
        const giveUp = () => {
          job.gone = true
          queue.drop(tenantId, job)
          reject(signal?.reason)
        }
        signal?.addEventListener('abort', giveUp)
        queue.add(tenantId, job)
        dispatch()
      })
    },
    close() {
      closed = true
      failWaiting(new Error('shaping has ended'))
      for (const { child } of workers) child.kill()
    },
  }
}
