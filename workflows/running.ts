// Which deliveries of a run are under way. Plain bookkeeping: what a delivery is, and how it is stopped, is passed in.

export interface Stoppable {
  done: Promise<void>
  stop(): void
}

export class RunningDeliveries {
  readonly #running = new Map<string, Stoppable>()

  get empty(): boolean {
    return this.#running.size === 0
  }

  has(name: string): boolean {
    return this.#running.has(name)
  }

  /** Takes a delivery in until its `done` settles. A rejection is kept for `settled`, never unhandled. */
  add(name: string, delivery: Stoppable, onError: (error: unknown) => void): void {
    this.#running.set(name, delivery)
    delivery.done.catch(onError).finally(() => this.#running.delete(name))
  }

  stopAll(): void {
    for (const delivery of this.#running.values()) delivery.stop()
  }
}
