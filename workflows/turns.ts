// How often each destination of a run was told that it may be its turn. Plain bookkeeping.

export class Turns {
  readonly #at = new Map<string, number>()
  #everywhere = 0

  /** Without names it is for all of them. */
  come(destinations?: string[]): void {
    if (destinations === undefined) this.#everywhere += 1
    for (const name of destinations ?? []) this.#at.set(name, (this.#at.get(name) ?? 0) + 1)
  }

  /** Goes up with every word that came for this one. */
  of(name: string): number {
    return this.#everywhere + (this.#at.get(name) ?? 0)
  }
}
