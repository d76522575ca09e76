// Which deliveries of a run are under way. Plain bookkeeping: what a delivery is, and how it stops, is passed in.

export interface Stoppable {
  done: Promise<void>
  stop(): void
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

  /**
   * Adds a delivery until its `done` settles; a rejection goes to `onError`. `onOutdated` is called when it has ended
   * and its row was opened in a later round meanwhile: its end says nothing about that round.
   */
  add(name: string, delivery: Stoppable, onError: (error: unknown) => void, onOutdated: () => void = () => {}): void {
    this.#running.set(name, delivery)
    delivery.done.catch(onError).finally(() => {
      this.#running.delete(name)
      if (this.#outdated.delete(name)) onOutdated()
    })
  }

  /**
   * Notes the round in which the row of a running delivery is open now, and how often it was resumed. A delivery that
   * waits although its row was resumed is stopped, so that it starts again.
   */
  note(name: string, round: number, resumes = 0): void {
    const delivery = this.#running.get(name)
    if (!delivery) return
    const resumed = resumes > (delivery.resumes ?? 0)
    if (resumed || round > delivery.round) this.#outdated.add(name)
    if (resumed) delivery.stop()
  }

  /** Stops a delivery whose row is final: nothing more may be sent. */
  stop(name: string): void {
    this.#running.get(name)?.stop()
  }

  stopAll(): void {
    for (const delivery of this.#running.values()) delivery.stop()
  }
}
