// The attributes by which a person finds runs in the Temporal UI. A start that names an unknown one fails, so starts
// use only those that exist.
import type { ConnectionLike } from '@temporalio/client'
import { SEARCH_ATTRIBUTES, type SearchAttribute } from '../../workflows/names.ts'

/** `temporal.api.enums.v1.IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD` */
const KEYWORD = 2

/** The ones of our attributes that exist in the namespace. */
export async function presentSearchAttributes(
  connection: ConnectionLike,
  namespace: string,
): Promise<Set<SearchAttribute>> {
  const { customAttributes } = await connection.operatorService.listSearchAttributes({ namespace })
  return new Set(SEARCH_ATTRIBUTES.filter((name) => customAttributes[name] === KEYWORD))
}

/**
 * Creates the missing attributes and returns those that exist then. Where creating is rejected (Temporal Cloud), runs
 * start without them, and the health check names them.
 */
export async function ensureSearchAttributes(
  connection: ConnectionLike,
  namespace: string,
): Promise<Set<SearchAttribute>> {
  const present = await presentSearchAttributes(connection, namespace).catch(() => new Set<SearchAttribute>())
  const missing = SEARCH_ATTRIBUTES.filter((name) => !present.has(name))
  if (missing.length === 0) return present
  try {
    await connection.operatorService.addSearchAttributes({
      namespace,
      searchAttributes: Object.fromEntries(missing.map((name) => [name, KEYWORD])),
    })
  } catch {
    return present
  }
  return await presentSearchAttributes(connection, namespace).catch(() => present)
}
