// Shared rules, which belong to no tenant and hold for all. Row security lets no tenant write them; these functions do, for
// the role `platform`.
import type { Db } from '../pool.ts'
import { findRule, type LeafRow, type RuleContent, type RuleRow } from './rules.ts'

/**
 * Adds a shared rule if `id` is null, otherwise replaces its content; `leaves` null: its conditions stay. Null if the name
 * is taken.
 */
export async function putSharedRule(
  db: Db,
  id: string | null,
  rule: RuleContent,
  leaves: LeafRow[] | null,
): Promise<RuleRow | null> {
  const { rows } = await db.query<{ id: string | null }>(
    `select put_shared_rule($1, $2, $3, $4, $5::jsonb, $6::jsonb, $7, $8, $9::text[], $10::text[], $11::text[]) as id`,
    [
      id,
      rule.name,
      rule.description,
      rule.rule_type,
      rule.conditions,
      rule.actions,
      rule.priority,
      rule.enabled,
      leaves?.map(({ path }) => path) ?? null,
      leaves?.map(({ operator }) => operator) ?? null,
      leaves?.map(({ value }) => value) ?? null,
    ],
  )
  const written = rows[0]!.id
  return written === null ? null : await findRule(db, written, { shared: true })
}

export async function deleteSharedRule(db: Db, id: string): Promise<void> {
  await db.query('select delete_shared_rule($1)', [id])
}

export async function lockSharedRule(db: Db, id: string): Promise<void> {
  await db.query('select lock_shared_rule($1)', [id])
}
