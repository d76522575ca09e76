// Counts the signals of the ordering key for each destination of a run.

export class Turns {
  readonly #at = new Map<string, number>()
  #everywhere = 0

  /** Without names, for all destinations. */
  come(destinations?: string[]): void {
    if (destinations === undefined) this.#everywhere += 1
    for (const name of destinations ?? []) this.#at.set(name, (this.#at.get(name) ?? 0) + 1)
  }

  /** A number that grows with every signal for this destination. */
  of(name: string): number {
    return this.#everywhere + (this.#at.get(name) ?? 0)
  }
}
