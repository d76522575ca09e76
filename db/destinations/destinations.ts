// Registered destinations and the versions of their configuration, which only refers to secrets (see credentials.ts).

import type { Db } from '../pool.ts'
import type { DestinationStatus, HealthStatus, Protocol } from '../states.ts'
import type { AutoDisable } from './auto-disable.ts'
import type { CircuitSettings } from './circuits.ts'
import type { RateLimit } from './rate-limits.ts'

export interface DestinationRow {
  id: string
  name: string
  description: string | null
  protocol: Protocol
  status: DestinationStatus
  status_reason: string | null
  configuration: Record<string, unknown>
  transform_config: Record<string, unknown>
  health_check_config: Record<string, unknown>
  circuit_breaker: CircuitSettings | null
  auto_disable: AutoDisable | null
  rate_limit: RateLimit | null
  max_concurrency: number | null
  version: number
  max_retries: number | null
  tags: string[]
  created_at: Date
  updated_at: Date
  last_used: Date | null
  usage_count: number
  health_status: HealthStatus
  last_health_check: Date | null
}

const COLUMNS = `id, name, description, protocol, status, status_reason, configuration, transform_config,
  health_check_config, circuit_breaker, auto_disable, rate_limit, max_concurrency, version, max_retries, tags, created_at, updated_at, last_used, usage_count, health_status,
  last_health_check`

export interface DestinationContent {
  description: string | null
  configuration: Record<string, unknown>
  transform_config: Record<string, unknown>
  health_check_config: Record<string, unknown>
  circuit_breaker: CircuitSettings | null
  auto_disable: AutoDisable | null
  rate_limit: RateLimit | null
  max_concurrency: number | null
  max_retries: number | null
  tags: string[]
}

export interface NewDestination extends DestinationContent {
  /** Created by the caller, because the name of the destination's own credential contains it. */
  id: string
  tenant_id: string
  name: string
  protocol: Protocol
}

/** A new id for a destination, by the database's clock. */
export async function newDestinationId(db: Db): Promise<string> {
  const { rows } = await db.query<{ id: string }>('select new_uuidv7() as id')
  return rows[0]!.id
}

/** Adds a destination as version 1; null if the name is taken. */
export async function insertDestination(
  db: Db,
  destination: NewDestination,
  actor: string,
): Promise<DestinationRow | null> {
  const { rows } = await db.query<DestinationRow>(
    `insert into destinations (id, tenant_id, name, protocol, description, configuration, transform_config,
                               health_check_config, max_retries, tags, circuit_breaker, auto_disable, rate_limit,
                               max_concurrency)
     values ($1, $2, $3, $4, $5, $6::jsonb, $7::jsonb, $8::jsonb, $9, $10, $11::jsonb, $12::jsonb, $13::jsonb, $14)
     on conflict (tenant_id, name) where deleted_at is null do nothing
     returning ${COLUMNS}`,
    [
      destination.id,
      destination.tenant_id,
      destination.name,
      destination.protocol,
      destination.description,
      JSON.stringify(destination.configuration),
      JSON.stringify(destination.transform_config),
      JSON.stringify(destination.health_check_config),
      destination.max_retries,
      destination.tags,
      ...limitValues(destination),
    ],
  )
  const row = rows[0]
  if (row) await insertVersion(db, destination.tenant_id, row, actor)
  return row ?? null
}

/** Replaces the content under a new version; waiting deliveries use it from their next attempt. */
export async function updateDestination(
  db: Db,
  tenantId: string,
  id: string,
  content: DestinationContent,
  actor: string,
): Promise<DestinationRow> {
  const { rows } = await db.query<DestinationRow>(
    `update destinations
        set description = $2, configuration = $3::jsonb, transform_config = $4::jsonb, health_check_config = $5::jsonb,
            max_retries = $6, tags = $7, circuit_breaker = $8::jsonb, auto_disable = $9::jsonb, rate_limit = $10::jsonb,
            max_concurrency = $11, version = version + 1, updated_at = clock_timestamp()
      where id = $1
      returning ${COLUMNS}`,
    [
      id,
      content.description,
      JSON.stringify(content.configuration),
      JSON.stringify(content.transform_config),
      JSON.stringify(content.health_check_config),
      content.max_retries,
      content.tags,
      ...limitValues(content),
    ],
  )
  const row = rows[0]!
  await insertVersion(db, tenantId, row, actor)
  return row
}

function limitValues({ circuit_breaker, auto_disable, rate_limit, max_concurrency }: DestinationContent) {
  const json = (value: object | null) => value && JSON.stringify(value)
  return [json(circuit_breaker), json(auto_disable), json(rate_limit), max_concurrency]
}

async function insertVersion(db: Db, tenantId: string, row: DestinationRow, actor: string): Promise<void> {
  await db.query(
    `insert into destination_configs
            (destination_id, version, tenant_id, configuration, transform_config, health_check_config, created_by)
     values ($1, $2, $3, $4::jsonb, $5::jsonb, $6::jsonb, $7)`,
    [
      row.id,
      row.version,
      tenantId,
      JSON.stringify(row.configuration),
      JSON.stringify(row.transform_config),
      JSON.stringify(row.health_check_config),
      actor,
    ],
  )
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i

/** The destination with this uuid or name, unless it is deleted; `forUpdate` locks it until the transaction ends. */
export async function findDestination(
  db: Db,
  idOrName: string,
  options: { forUpdate?: boolean } = {},
): Promise<DestinationRow | null> {
  // A name may look like a uuid; then the destination with this id comes first.
  const { rows } = await db.query<DestinationRow>(
    `select ${COLUMNS} from destinations
      where deleted_at is null and (id = $1 or name = $2)
      order by id = $1 desc nulls last limit 1 ${options.forUpdate ? 'for update' : ''}`,
    [UUID.test(idOrName) ? idOrName : null, idOrName],
  )
  return rows[0] ?? null
}

/** Whether a destination still has this version and is not deleted. */
export async function isAtVersion(db: Db, id: string, version: number | null): Promise<boolean> {
  const { rowCount } = await db.query(
    'select from destinations where id = $1 and version = $2 and deleted_at is null',
    [id, version],
  )
  return rowCount === 1
}

export interface DestinationFilter {
  protocol?: Protocol | undefined
  status?: DestinationStatus | undefined
  tag?: string | undefined
  health_status?: DestinationRow['health_status'] | undefined
}

/** One page in the order of the names, after the name `after`, and how many destinations the filter matches. */
export async function listDestinations(
  db: Db,
  filter: DestinationFilter,
  page: { limit: number; offset: number; after: string | null },
): Promise<{ destinations: DestinationRow[]; total: number }> {
  const where = `deleted_at is null and ($1::text is null or protocol = $1) and ($2::text is null or status = $2)
    and ($3::text is null or tags @> array[$3]) and ($4::text is null or health_status = $4)`
  const values = [filter.protocol ?? null, filter.status ?? null, filter.tag ?? null, filter.health_status ?? null]
  const { rows } = await db.query<DestinationRow>(
    `select ${COLUMNS} from destinations where ${where} and ($7::text is null or name > $7)
      order by name limit $5 offset $6`,
    [...values, page.limit, page.offset, page.after],
  )
  const total = await db.query<{ total: number }>(
    `select count(*)::int as total from destinations where ${where}`,
    values,
  )
  return { destinations: rows, total: total.rows[0]!.total }
}

export async function setDestinationStatus(db: Db, id: string, status: DestinationStatus): Promise<DestinationRow> {
  const { rows } = await db.query<DestinationRow>(
    `update destinations set status = $2, status_reason = null, updated_at = clock_timestamp()
      where id = $1 returning ${COLUMNS}`,
    [id, status],
  )
  return rows[0]!
}

/** Marks the destination as deleted, which frees its name. The row stays for the history. */
export async function deleteDestination(db: Db, id: string): Promise<void> {
  await db.query(
    `update destinations set deleted_at = clock_timestamp(), updated_at = clock_timestamp() where id = $1`,
    [id],
  )
  await db.query('delete from credentials where destination_id = $1', [id])
}

/** Matches destinations whose configuration names the credential $1; $2 is its `credentialPrefix`. */
const USES = `deleted_at is null
        and (configuration ->> 'credentials' = $1
             or jsonb_path_exists(configuration, 'lax $.**.secret ? (@ starts with $prefix)', $2::jsonb))`

function credentialPrefix(credential: string): string {
  return JSON.stringify({ prefix: `${credential}.` })
}

/** The first 20 destinations whose configuration names this credential. */
export async function destinationsUsing(db: Db, credential: string): Promise<string[]> {
  const { rows } = await db.query<{ name: string }>(
    `select name from destinations where ${USES} order by name limit 20`,
    [credential, credentialPrefix(credential)],
  )
  return rows.map(({ name }) => name)
}

/** The configurations that name this credential, without those of deleted destinations. */
export async function configurationsUsing(
  db: Db,
  credential: string,
): Promise<Pick<DestinationRow, 'protocol' | 'configuration'>[]> {
  const { rows } = await db.query<Pick<DestinationRow, 'protocol' | 'configuration'>>(
    `select protocol, configuration from destinations where ${USES}`,
    [credential, credentialPrefix(credential)],
  )
  return rows
}
