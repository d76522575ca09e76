// How often each destination of a run was told that it may be its turn under the ordering key. Plain bookkeeping.

export class Turns {
  readonly #at = new Map<string, number>()
  #everywhere = 0

  /** Without names, at all destinations. */
  come(destinations?: string[]): void {
    if (destinations === undefined) this.#everywhere += 1
    for (const name of destinations ?? []) this.#at.set(name, (this.#at.get(name) ?? 0) + 1)
  }

  /** A number that grows with every signal for this destination. */
  of(name: string): number {
    return this.#everywhere + (this.#at.get(name) ?? 0)
  }
}
