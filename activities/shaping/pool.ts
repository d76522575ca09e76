// Which shaping process works for whom. A process is kept for a while for its tenant's next payload. Where there are more
// tenants than processes, one passes on to another tenant and forgets all of the one before; but one in which an expression
// ran that can rewrite objects never does: it is ended.
import { LIMITS } from '../../db/limits.ts'
import { bundled } from './bundle.ts'
import { createQueue } from './fair-queue.ts'
import type { Done, Outcome, Task } from './messages.ts'
import { reasonOf } from './reason.ts'
import { type Bounds, openSeat, type Seat } from './seat.ts'
import { TOO_LONG } from './watch.ts'

export interface Pool {
  /** @throws ShapingError for what the task itself is to blame for */
  run(tenantId: string, task: Task, signal: AbortSignal | undefined): Promise<Outcome>
  close(): void
}

interface Job {
  tenantId: string
  task: Task
  /** Nobody waits for it any more. */
  gone: boolean
  resolve(outcome: Outcome): void
  reject(error: unknown): void
}

interface Place {
  seat: Seat
  state: 'starting' | 'ready' | 'ending'
  /** Nobody's yet when undefined. */
  tenantId: string | undefined
  job: Job | undefined
  since: number
  /** Of the processor, for the present order. */
  usedMs: number
  /** Of the processor, since it was this tenant's turn. */
  turnMs: number
  /** It may not serve another tenant. */
  bound: boolean
  /** It was ended to give its slot to others. */
  giveWay: boolean
  /** Ends it when it has stood idle for long. */
  expiry: NodeJS.Timeout | undefined
}

/** After one that did not come up: whatever was in its way will not be gone at once. */
const START_AGAIN_MS = 1000
/** A tenant's turn: starting a process for the next one costs as much as some ten small payloads. */
const TURN_MS = 200
/** A process that holds more after its work is ended: a small payload would go on holding a large one's memory. */
const HELD_BYTES = 268_435_456

/** @param kept with those that work */
export function createPool({ slots, kept, ...bounds }: Bounds & { slots: number; kept: number }): Pool {
  const places = new Set<Place>()
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
    for (const { job } of places) if (job) count += 1
    return count
  }

  function idleOf(tenantId: string): Place | undefined {
    for (const place of places) {
      if (place.state === 'ready' && !place.job && place.tenantId === tenantId) return place
    }
    return undefined
  }

  /** One that has served nobody yet; where no more may be started, one that has and may pass on. */
  function openToAll(): Place | undefined {
    for (const place of places) if (place.state === 'ready' && place.tenantId === undefined) return place
    return places.size < most ? undefined : longestIdle((place) => !place.bound)
  }

  function start(place: Place, job: Job): void {
    clearTimeout(place.expiry)
    if (place.tenantId !== job.tenantId) place.turnMs = 0
    place.tenantId = job.tenantId
    place.job = job
    place.since = performance.now()
    place.usedMs = 0
    place.seat.give({ ...job.task, tenantId: job.tenantId })
  }

  /** What takes long gives way, once, to tenants that have no slot: it goes on among the slow ones. */
  function makeRoom(): void {
    if (closed || !queue.isCrowded()) return
    let latest: Place | undefined
    for (const place of places) {
      if (place.giveWay) return
      if (place.job && (latest === undefined || place.usedMs < latest.usedMs)) latest = place
    }
    if (!latest) return
    latest.giveWay = true
    retire(latest)
  }

  function retire(place: Place): void {
    place.state = 'ending'
    place.seat.kill()
  }

  /** For a tenant that waits and has none; and one more for whoever comes next, where others work already. */
  function startProcess(): void {
    const waits = working() < slots && queue.hasTurn()
    const fresh = [...places].filter(({ state, tenantId }) => state !== 'ending' && tenantId === undefined).length
    const wanted = waits ? Math.min(slots, queue.size()) : places.size > 0 ? 1 : 0
    if (closed || fresh >= wanted) return
    if (places.size >= most) {
      const ending = [...places].some(({ state }) => state === 'ending')
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

  function longestIdle(may: (place: Place) => boolean = () => true): Place | undefined {
    let found: Place | undefined
    for (const place of places) {
      if (place.state !== 'ready' || place.job || place.tenantId === undefined || !may(place)) continue
      if (found === undefined || place.since < found.since) found = place
    }
    return found
  }

  function open(source: string): void {
    const place: Omit<Place, 'seat'> = {
      state: 'starting',
      tenantId: undefined,
      job: undefined,
      since: 0,
      usedMs: 0,
      turnMs: 0,
      bound: false,
      giveWay: false,
      expiry: undefined,
    }
    try {
      const seat = openSeat(source, bounds, {
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
      const whole: Place = Object.assign(place, { seat })
      places.add(whole)
    } catch (error) {
      // Too little memory for one more process, for example.
      mayStartAt = performance.now() + START_AGAIN_MS
      if (places.size === 0) failWaiting(error as Error)
    }
  }

  function rest(place: Place): void {
    place.since = performance.now()
    place.expiry = setTimeout(() => retire(place), LIMITS.shapingKeep.value)
    place.expiry.unref()
  }

  function done(place: Place, { outcome, used_ms, held_bytes, bound }: Done): void {
    const { job } = place
    if (!job) return
    place.job = undefined
    place.bound = bound
    place.turnMs += used_ms
    queue.done(job.tenantId, used_ms)
    rest(place)
    job.resolve(outcome)
    if (held_bytes > HELD_BYTES) retire(place)
    const next = place.state === 'ready' && place.turnMs < TURN_MS ? queue.nextOf(job.tenantId) : undefined
    if (next) start(place, next)
    else {
      place.turnMs = 0
      dispatch()
    }
  }

  function end(place: Place, code: number | null, signal: string | null, stderr: string): void {
    const { job } = place
    places.delete(place)
    clearTimeout(place.expiry)
    if (job) {
      queue.done(job.tenantId, Math.max(place.usedMs, signal === TOO_LONG ? bounds.limitMs : 0))
      place.job = undefined
      if (place.giveWay && !job.gone && !closed) {
        queue.gaveWay(job.tenantId)
        queue.putBack(job.tenantId, job)
      } else job.reject(reasonOf({ code, signal, stderr }, bounds))
    }
    if (place.state === 'starting') {
      mayStartAt = performance.now() + START_AGAIN_MS
      // It would be started again and again for jobs that wait.
      if (places.size === 0) failWaiting(reasonOf({ code, signal, stderr }, bounds))
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
        // What runs already is let run: its time is bounded.
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
      for (const { seat } of places) seat.kill()
    },
  }
}
