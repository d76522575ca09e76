// Waits until distributions have ended. Tests that wait for many use one statement for all of them.
import pg from 'pg'

const EVERY_MS = 50
const WITHIN_MS = 60_000

interface Waiting {
  resolve(): void
  reject(error: Error): void
  until: number
}

export interface Ends {
  /** Resolves when the distribution is final; rejects after 60 s. */
  of(id: string): Promise<void>
  close(): Promise<void>
}

/** @param url a login that sees the rows of all tenants */
export function watchEnds(url: string): Ends {
  const pool = new pg.Pool({ connectionString: url, max: 1 })
  pool.on('error', () => {})
  const waiting = new Map<string, Waiting[]>()
  let timer: NodeJS.Timeout | undefined

  async function look(): Promise<void> {
    try {
      const { rows } = await pool.query<{ id: string }>({
        name: 'ends',
        text: 'select id from distribution_jobs where id = any ($1) and completed_at is not null',
        values: [[...waiting.keys()]],
      })
      for (const { id } of rows) settle(id, ({ resolve }) => resolve())
    } catch {
      // The test may have the database away for a while.
    }
    for (const [id, [first]] of waiting) {
      if (first!.until < performance.now())
        settle(id, ({ reject }) => reject(new Error(`${id} is not final after 60 s`)))
    }
    timer = waiting.size > 0 ? setTimeout(look, EVERY_MS) : undefined
  }

  function settle(id: string, how: (one: Waiting) => void): void {
    const all = waiting.get(id) ?? []
    waiting.delete(id)
    for (const one of all) how(one)
  }

  return {
    of: (id) =>
      new Promise((resolve, reject) => {
        waiting.set(id, [...(waiting.get(id) ?? []), { resolve, reject, until: performance.now() + WITHIN_MS }])
        timer ??= setTimeout(look, 0)
      }),
    async close() {
      clearTimeout(timer)
      await pool.end()
    },
  }
}
