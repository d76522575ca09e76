// The running deliveries of a run. Plain bookkeeping, without calls of Temporal: the caller passes in how to stop one.

import type { Protocol } from '../db/states.ts'
import type { RunStatus } from './messages.ts'

export interface Stoppable {
  done: Promise<void>
  stop(): void
  protocol: Protocol
  /** Earlier distributions of its ordering key come first. */
  isHeld(): boolean
  /** The delivery's round when it started, and how often it had been resumed. */
  round: number
  resumes?: number | undefined
}

export class RunningDeliveries {
  readonly #running = new Map<string, Stoppable>()
  readonly #outdated = new Set<string>()

  get empty(): boolean {
    return this.#running.size === 0
  }

  has(name: string): boolean {
    return this.#running.has(name)
  }

  list(): RunStatus['deliveries'] {
    return [...this.#running].map(([name, { protocol, round, isHeld }]) => ({
      ...{ name, protocol, round },
      state: isHeld() ? 'held' : 'delivering',
    }))
  }

  /**
   * Adds a delivery until its `done` settles; a rejection goes to `onError`. `onOutdated` is called when it has ended but
   * its row was reopened in a later round meanwhile: that round must still be delivered.
   */
  add(name: string, delivery: Stoppable, onError: (error: unknown) => void, onOutdated: () => void = () => {}): void {
    this.#running.set(name, delivery)
    delivery.done.catch(onError).finally(() => {
      this.#running.delete(name)
      if (this.#outdated.delete(name)) onOutdated()
    })
  }

  /**
   * Notes the present round of the row of a running delivery, and how often it was resumed. A delivery that waits
   * although its row was resumed is stopped, so that it starts again.
   */
  note(name: string, round: number, resumes = 0): void {
    const delivery = this.#running.get(name)
    if (!delivery) return
    const resumed = resumes > (delivery.resumes ?? 0)
    if (resumed || round > delivery.round) this.#outdated.add(name)
    if (resumed) delivery.stop()
  }

  /** Stops a delivery whose row is final, so that nothing more is sent. */
  stop(name: string): void {
    this.#running.get(name)?.stop()
  }

  stopAll(): void {
    for (const delivery of this.#running.values()) delivery.stop()
  }
}
