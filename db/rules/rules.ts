// Stored rules, each with one row per leaf condition.

import type { Db } from '../pool.ts'
import type { RuleType } from '../states.ts'

export interface StoredRule {
  id: string
  name: string
  /** It belongs to no tenant and holds for all of them. */
  shared: boolean
  rule_type: RuleType
  priority: number
  /** Changes with every change of the row. */
  version: string
  /** JSON text, because JSON.parse would lose digits of its numbers. */
  conditions: string
  actions: unknown
}

export interface RuleRow extends StoredRule {
  /** Null: shared by all tenants. */
  tenant_id: string | null
  description: string | null
  enabled: boolean
  created_at: Date
  updated_at: Date
}

const COLUMNS = `id, xmin::text as version, tenant_id, tenant_id is null as shared, name, description, rule_type, conditions::text as conditions, actions, priority, enabled,
  created_at, updated_at`

export interface RuleContent {
  name: string
  description: string | null
  rule_type: RuleType
  /** JSON text, so that numbers keep their digits. */
  conditions: string
  actions: string
  priority: number
  enabled: boolean
}

export interface LeafRow {
  path: string
  operator: string
  /** JSON text; null when the condition has none. */
  value: string | null
}

/** Adds a rule; null if the tenant has a rule of this name. */
export async function insertRule(
  db: Db,
  tenantId: string,
  rule: RuleContent,
  leaves: LeafRow[],
): Promise<RuleRow | null> {
  const { rows } = await db.query<RuleRow>(
    `insert into distribution_rules
            (tenant_id, name, description, rule_type, conditions, actions, priority, enabled, created_at, updated_at)
     values ($1, $2, $3, $4, $5::jsonb, $6::jsonb, $7, $8, clock_timestamp(), clock_timestamp())
     on conflict (tenant_id, name) do nothing
     returning ${COLUMNS}`,
    [tenantId, ...valuesOf(rule)],
  )
  const row = rows[0]
  if (row) await writeLeaves(db, tenantId, row.id, leaves)
  return row ?? null
}

/** Replaces a rule that the caller has locked; `leaves` null: its conditions stay. */
export async function updateRule(
  db: Db,
  tenantId: string,
  id: string,
  rule: RuleContent,
  leaves: LeafRow[] | null,
): Promise<RuleRow> {
  const { rows } = await db.query<RuleRow>(
    `update distribution_rules
        set name = $2, description = $3, rule_type = $4, conditions = $5::jsonb, actions = $6::jsonb, priority = $7,
            enabled = $8, updated_at = clock_timestamp()
      where id = $1
      returning ${COLUMNS}`,
    [id, ...valuesOf(rule)],
  )
  if (leaves) await writeLeaves(db, tenantId, id, leaves)
  return rows[0]!
}

function valuesOf({ name, description, rule_type, conditions, actions, priority, enabled }: RuleContent): unknown[] {
  return [name, description, rule_type, conditions, actions, priority, enabled]
}

async function writeLeaves(db: Db, tenantId: string, id: string, leaves: LeafRow[]): Promise<void> {
  await db.query('delete from rule_conditions where rule_id = $1', [id])
  if (leaves.length === 0) return
  await db.query(
    `insert into rule_conditions (tenant_id, rule_id, position, path, operator, value)
     select $1, $2, l.position, l.path, l.operator, l.value::jsonb
       from unnest($3::text[], $4::text[], $5::text[]) with ordinality as l (path, operator, value, position)`,
    [
      tenantId,
      id,
      leaves.map(({ path }) => path),
      leaves.map(({ operator }) => operator),
      leaves.map(({ value }) => value),
    ],
  )
}

export async function deleteRule(db: Db, id: string): Promise<void> {
  await db.query('delete from distribution_rules where id = $1', [id])
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i

/** The rule with this uuid or name, the tenant's own before a shared one; `lock` works only for the tenant's own. */
export async function findRule(
  db: Db,
  idOrName: string,
  options: { shared?: boolean | undefined; lock?: boolean } = {},
): Promise<RuleRow | null> {
  const { rows } = await db.query<RuleRow>(
    `select ${COLUMNS} from distribution_rules
      where (id = $1 or name = $2) and ($3::boolean is null or (tenant_id is null) = $3)
      order by id = $1 desc nulls last, tenant_id nulls last limit 1 ${options.lock ? 'for update' : ''}`,
    [UUID.test(idOrName) ? idOrName : null, idOrName, options.shared ?? null],
  )
  return rows[0] ?? null
}

export interface RuleFilter {
  rule_type?: RuleType | undefined
  enabled?: boolean | undefined
  shared?: boolean | undefined
  /** Rules whose actions name this destination. */
  destination?: string | undefined
  tag?: string | undefined
  /** Rules with a condition on this path or below it. */
  path?: string | undefined
}

/** One page in the order of evaluation, after the rule `after`, and how many rules the filter matches. */
export async function listRules(
  db: Db,
  filter: RuleFilter,
  page: { limit: number; offset: number; after: Pick<RuleRow, 'priority' | 'name' | 'shared'> | null },
): Promise<{ rules: RuleRow[]; total: number }> {
  const where = `($1::text is null or rule_type = $1) and ($2::boolean is null or enabled = $2)
    and ($3::text is null or actions -> 'destinations' ? $3) and ($4::text is null or actions -> 'tags' ? $4)
    and ($5::text is null or exists (
          select from rule_conditions c
           where c.rule_id = r.id and (c.path = $5 or starts_with(c.path, $5 || '.') or starts_with(c.path, $5 || '['))))
    and ($6::boolean is null or (r.tenant_id is null) = $6)`
  const values = [
    filter.rule_type ?? null,
    filter.enabled ?? null,
    filter.destination ?? null,
    filter.tag ?? null,
    filter.path ?? null,
    filter.shared ?? null,
  ]
  const { rows } = await db.query<RuleRow>(
    `select ${COLUMNS} from distribution_rules r where ${where}
        and ($9::int is null
             or (-priority, name collate "C", tenant_id is null) > (-$9::int, $10::text collate "C", $11::boolean))
      order by priority desc, name collate "C", tenant_id nulls last limit $7 offset $8`,
    [...values, page.limit, page.offset, page.after?.priority, page.after?.name, page.after?.shared],
  )
  const total = await db.query<{ total: number }>(
    `select count(*)::int as total from distribution_rules r where ${where}`,
    values,
  )
  return { rules: rows, total: total.rows[0]!.total }
}

export interface SizeOfRules {
  count: number
  /** Size of conditions and actions as JSON. */
  bytes: number
  /** Conditions with `matches`. */
  patterns: number
}

/** The number and size of the tenant's rules, or of the shared ones. Locks nothing: the limits need not be exact. */
export async function sizeOfRules(db: Db, options: { shared: boolean }): Promise<SizeOfRules> {
  const { rows } = await db.query<SizeOfRules>(
    `select count(*)::int as count,
            coalesce(sum(octet_length(conditions::text) + octet_length(actions::text)), 0)::float8 as bytes,
            (select count(*)::int from rule_conditions
              where (tenant_id is null) = $1 and operator = 'matches') as patterns
       from distribution_rules where (tenant_id is null) = $1`,
    [options.shared],
  )
  return rows[0]!
}

export interface RuleState {
  enabled: number
  /** Changes with every change of the enabled rules, also by SQL. */
  fingerprint: string
  default_destinations: string[]
  now: Date
}

/** The fingerprint of the rules, by which a worker decides whether its cached rules are current. */
export async function readRuleState(db: Db, tenantId: string): Promise<RuleState> {
  // xmin changes with every update, also if two transactions at the same time write the same microsecond.
  const { rows } = await db.query<RuleState>(
    `select r.enabled, r.fingerprint, clock_timestamp() as now,
            array(select jsonb_array_elements_text(
                    case when jsonb_typeof(t.config -> 'default_destinations') = 'array'
                         then t.config -> 'default_destinations' else '[]' end)) as default_destinations
       from (select count(*)::int as enabled,
                    coalesce(sum(hashtextextended(id::text || xmin::text, 0)), 0)::text as fingerprint
               from distribution_rules where enabled) r
       left join tenants t on t.id = $1`,
    [tenantId],
  )
  return rows[0]!
}

/** The enabled rules: the tenant's own and the shared ones. */
export async function loadRules(db: Db): Promise<StoredRule[]> {
  const { rows } = await db.query<StoredRule>(
    `select id, xmin::text as version, tenant_id is null as shared, name, rule_type, priority, conditions::text as conditions, actions from distribution_rules where enabled`,
  )
  return rows
}
