// A connection whose statements always end. While a statement gets no answer, another connection checks whether the server
// answers. If it does not, or the time is over, the connection is destroyed and every statement on it fails.
import pg from 'pg'
import { connectError, DatabaseRefused, DatabaseUnavailable, PoolTimeout, statementError } from './availability.ts'
import { LIMITS } from './limits.ts'

const CHECK_EVERY_MS = LIMITS.databaseSilence.value
const CHECK_WITHIN_MS = 2000
const END_WITHIN_MS = 2000
/** Time that the network and a busy server may need beyond the statement's own limit. */
const MARGIN_MS = 3000

/** pg's clients have this property, but its types do not declare it. */
export interface WithSocket {
  connection: { stream: { destroyed: boolean; destroy(error?: Error): void } }
}

export interface BoundedConfig extends pg.ClientConfig {
  /** Whether the server answers on a new connection. */
  serverAnswers: () => Promise<boolean>
}

export class BoundedClient extends pg.Client {
  readonly #serverAnswers: () => Promise<boolean>
  /** How long a statement may take, in milliseconds; the server has the same limit. */
  statementMs: number = LIMITS.databaseStatement.value
  /** On the clock of `performance.now`. */
  readonly made_at = performance.now()

  constructor(config: BoundedConfig) {
    super(config)
    this.#serverAnswers = config.serverAnswers
  }

  // biome-ignore lint/suspicious/noExplicitAny: pg has two overloads, and this changes neither
  override connect(done?: (...answer: any[]) => void): any {
    const coded = (error: Error) => {
      const known = connectError(error, this.#closed)
      // A connection that was refused during the login cannot be used again.
      this.#socket.destroy()
      return known
    }
    if (done) return super.connect((error: Error | null) => done(error && coded(error), this))
    return super.connect().catch((error: Error) => Promise.reject(coded(error)))
  }

  // biome-ignore lint/suspicious/noExplicitAny: pg has six overloads, and this changes none of them
  override query(...given: any[]): any {
    const stop = this.#watch((given[0] as { answer_within_ms?: number } | null)?.answer_within_ms)
    const coded = (error: Error) => statementError(error, this.#closed)
    const done = given.at(-1)
    if (typeof done === 'function') {
      const ended = (error: Error | null, result: unknown) => {
        stop()
        done(error && coded(error), result)
      }
      return super.query(...([...given.slice(0, -1), ended] as unknown as [string]))
    }
    const asked: unknown = super.query(...(given as [string]))
    if (!(asked instanceof Promise)) {
      stop()
      return asked
    }
    return asked.finally(stop).catch((error: Error) => Promise.reject(coded(error)))
  }

  // biome-ignore lint/suspicious/noExplicitAny: pg has two overloads, and this changes neither
  override end(done?: (...answer: any[]) => void): any {
    // A frozen server never closes its side, and the end of the pool would wait for it.
    const late = setTimeout(() => this.#socket.destroy(), END_WITHIN_MS)
    this.once('end', () => clearTimeout(late))
    return done ? super.end(done) : super.end()
  }

  get #socket() {
    return (this as unknown as WithSocket).connection.stream
  }

  get #closed(): boolean {
    return this.#socket.destroyed
  }

  /** Returns a function that ends the watch. With `withinMs` there is no check: such statements are answered at once. */
  #watch(withinMs?: number): () => void {
    const until = performance.now() + (withinMs ?? this.statementMs + MARGIN_MS)
    let stopped = false
    const check = async () => {
      const late = performance.now() >= until
      if (!late && (await this.#serverAnswers())) {
        if (!stopped) timer = setTimeout(check, Math.max(1, Math.min(CHECK_EVERY_MS, until - performance.now())))
      } else if (!stopped) {
        this.#socket.destroy(new DatabaseUnavailable('the database does not answer (timeout)'))
      }
    }
    let timer = setTimeout(check, withinMs ?? CHECK_EVERY_MS)
    return () => {
      stopped = true
      clearTimeout(timer)
    }
  }
}

/** Opens a connection of its own; calls at the same time share one check. */
export function createServerCheck(config: pg.ClientConfig): () => Promise<boolean> {
  let asking: Promise<boolean> | undefined
  return () => {
    asking ??= ask(config).finally(() => {
      asking = undefined
    })
    return asking
  }
}

async function ask(config: pg.ClientConfig): Promise<boolean> {
  const client = new pg.Client({ ...config, connectionTimeoutMillis: CHECK_WITHIN_MS })
  client.on('error', () => {})
  try {
    await client.connect()
    return true
  } catch (error) {
    // Too many connections, or a locked login: the server does answer.
    return error instanceof pg.DatabaseError
  } finally {
    void client.end().catch(() => {})
  }
}

/** A pool whose errors have one of the classes of availability.ts. */
export class BoundedPool extends pg.Pool {
  // biome-ignore lint/suspicious/noExplicitAny: pg has two overloads, and this changes neither
  override connect(done?: (...answer: any[]) => void): any {
    if (!done) return super.connect().catch((error: Error) => Promise.reject(this.#coded(error)))
    return super.connect((error, client, release) => done(error && this.#coded(error), client, release))
  }

  #coded(error: Error): Error {
    const known = [error, error.cause].find(
      (one) => one instanceof DatabaseUnavailable || one instanceof DatabaseRefused || one instanceof pg.DatabaseError,
    )
    if (known) return known as Error
    // The pool's own errors have no code: no connection was free in time, or the pool has ended.
    return this.ending ? error : new PoolTimeout(error.message, { cause: error })
  }
}
