// Functions that the endpoints of registered destinations share.
import { circuitStates } from '../../db/destinations/circuits.ts'
import { type DestinationRow, findDestination } from '../../db/destinations/destinations.ts'
import type { Db } from '../../db/pool.ts'
import type { AuditEntry, Request } from '../http/endpoint.ts'
import { notFound } from '../http/errors.ts'
import { shownDestination } from './registration.ts'

/** @throws ApiError 404 */
export async function find(db: Db, idOrName: string, options?: { forUpdate: boolean }): Promise<DestinationRow> {
  const row = await findDestination(db, idOrName, options)
  if (!row) throw notFound('destination')
  return row
}

/** With masked secrets and the present state of its circuit. */
export async function shown({ transaction }: Request, row: DestinationRow) {
  const circuit = await transaction((db) => circuitStates(db, [row.id]))
  return shownDestination(row, circuit(row.id))
}

export function entry(action: string, { id, name }: DestinationRow, details: Record<string, unknown> = {}): AuditEntry {
  return { action, resource_type: 'destination', resource_id: id, details: { name, ...details } }
}
