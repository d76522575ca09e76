// Which deliveries of a run are under way. Plain bookkeeping: what a delivery is, and how it is stopped, is passed in.

export interface Stoppable {
  done: Promise<void>
  stop(): void
  /** The delivery's round when it was started, and how often it had been woken. */
  round: number
  wakes?: number | undefined
}

export class RunningDeliveries {
  readonly #running = new Map<string, Stoppable>()
  readonly #overtaken = new Set<string>()

  get empty(): boolean {
    return this.#running.size === 0
  }

  has(name: string): boolean {
    return this.#running.has(name)
  }

  /**
   * Takes a delivery in until its `done` settles; a rejection goes to `onError`, never unhandled. `onOvertaken` is called
   * when it has ended and its row was opened in a later round meanwhile: its own end says nothing about that one.
   */
  add(name: string, delivery: Stoppable, onError: (error: unknown) => void, onOvertaken: () => void = () => {}): void {
    this.#running.set(name, delivery)
    delivery.done.catch(onError).finally(() => {
      this.#running.delete(name)
      if (this.#overtaken.delete(name)) onOvertaken()
    })
  }

  /**
   * Notes the round in which the row of a running delivery is open now, and how often it was woken: a delivery that waits
   * although its row was woken is stopped, to be started anew.
   */
  note(name: string, round: number, wakes = 0): void {
    const delivery = this.#running.get(name)
    if (!delivery) return
    const woken = wakes > (delivery.wakes ?? 0)
    if (woken || round > delivery.round) this.#overtaken.add(name)
    if (woken) delivery.stop()
  }

  /** One whose row is final: nothing is to be sent any more. */
  stop(name: string): void {
    this.#running.get(name)?.stop()
  }

  stopAll(): void {
    for (const delivery of this.#running.values()) delivery.stop()
  }
}
