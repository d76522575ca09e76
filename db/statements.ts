// Statements that the server plans once per connection, and not at every use. Planning was two thirds of the database's
// work for a distribution.
import { createHash } from 'node:crypto'
import type pg from 'pg'

/**
 * More texts than the hot path has. Every name costs the server memory in each connection, so a text that is built from
 * values must not get one.
 */
const MOST_NAMES = 200
const names = new Map<string, string>()

/** The name of a statement is a hash of its text, so that no two texts ever share a name, in any process. */
function nameOf(text: string): string | undefined {
  const known = names.get(text)
  if (known || names.size >= MOST_NAMES) return known
  const name = createHash('sha256').update(text).digest('hex').slice(0, 32)
  names.set(text, name)
  return name
}

/**
 * The client with named statements. Call it only if all of the client's statements go to the same server session, which a
 * pooler does not guarantee.
 */
export function planOnce(client: pg.ClientBase): Pick<pg.ClientBase, 'query'> {
  const query = (text: string, values: unknown[] = []) => client.query({ name: nameOf(text), text, values })
  return { query } as Pick<pg.ClientBase, 'query'>
}
