// Circuits: one row per tenant and failing target, none for a healthy target. Every transition is one guarded statement, so
// that all workers may run it at the same time. Locked last, after job, delivery and attempt.
import type { Db } from '../pool.ts'
import type { CircuitStatus } from '../states.ts'

/** An open circuit when an attempt is opened. Milliseconds by the database's clock. */
export interface OpenCircuit {
  /** Until a probe is allowed; 0 when the circuit is half open. */
  wait_ms: number
  /** Until the lease of the present probe ends; 0 when there is none. */
  probe_wait_ms: number
  /** This delivery holds the lease: its worker was lost. */
  own: boolean
  /** How often the circuit was opened in a row. */
  openings: number
}

export interface CircuitSettings {
  failures: number
  open_seconds: number
}

export const CIRCUIT_DEFAULTS: CircuitSettings = { failures: 5, open_seconds: 60 }

export interface Target {
  tenant_id: string
  target: string
  /** The delivery that asks for the lease or releases it. */
  delivery_id: string
}

/**
 * Takes the one lease of a half-open circuit. False when it is not half open or another delivery holds the lease. A
 * delivery that held it when its worker was lost may take it again.
 */
export async function takeProbe(db: Db, { tenant_id, target, delivery_id }: Target, leaseMs: number): Promise<boolean> {
  const { rowCount } = await db.query(
    `update destination_circuits
        set probe = $3, probe_until = clock_timestamp() + $4 * interval '1 millisecond', updated_at = clock_timestamp()
      where tenant_id = $1 and target = $2 and opened_at is not null and open_until <= clock_timestamp()
        and (probe is null or probe = $3 or probe_until <= clock_timestamp())`,
    [tenant_id, target, delivery_id, leaseMs],
  )
  return rowCount === 1
}

/** Releases the lease without a result: another delivery may probe. */
export async function giveBackProbe(db: Db, { tenant_id, target, delivery_id }: Target): Promise<void> {
  await db.query(
    `update destination_circuits set probe = null, probe_until = null, updated_at = clock_timestamp()
      where tenant_id = $1 and target = $2 and probe = $3`,
    [tenant_id, target, delivery_id],
  )
}

export interface NotedFailure {
  /** This failure opened a closed circuit. */
  opened: boolean
  failures_in_a_row: number
  failing_seconds: number
}

/**
 * Adds one failure in a row. With `counted` it also counts for the circuit: it opens after `settings.failures`, and a
 * failed probe opens it again. Other attempts that end while it is open do not change it.
 */
export async function noteFailure(
  db: Db,
  { tenant_id, target, delivery_id }: Target,
  failure: { attempt_id: string; counted: boolean; settings: CircuitSettings },
): Promise<NotedFailure> {
  const { rows } = await db.query<NotedFailure>(
    `insert into destination_circuits as c
            (tenant_id, target, failures, failures_in_a_row, opened_at, open_until, openings, opened_by)
     select $1, $2, $5::int, 1, case when opens then clock_timestamp() end,
            case when opens then clock_timestamp() + $7 * interval '1 second' end, opens::int,
            case when opens then $4::uuid end
       from (select $5::int >= $6 as opens) as decided
         on conflict (tenant_id, target) do update
        set failures = c.failures + $5::int,
            failures_in_a_row = c.failures_in_a_row + 1,
            failing_since = case when c.failures_in_a_row = 0 then clock_timestamp() else c.failing_since end,
            (opened_at, open_until, openings, opened_by) = (
              select case when opens then coalesce(c.opened_at, clock_timestamp()) else c.opened_at end,
                     case when opens then clock_timestamp() + $7 * interval '1 second' else c.open_until end,
                     c.openings + opens::int,
                     case when opens then $4::uuid else c.opened_by end
                from (select $5::int = 1 and coalesce(case when c.opened_at is null then c.failures + 1 >= $6
                                                           else c.probe = $3 end, false) as opens) as decided),
            probe = nullif(c.probe, $3),
            probe_until = case when c.probe is distinct from $3 then c.probe_until end,
            updated_at = clock_timestamp()
     returning coalesce(opened_by = $4::uuid, false) and openings = 1 as opened, failures_in_a_row,
               extract(epoch from clock_timestamp() - failing_since)::float8 as failing_seconds`,
    [
      tenant_id,
      target,
      delivery_id,
      failure.attempt_id,
      failure.counted ? 1 : 0,
      failure.settings.failures,
      failure.settings.open_seconds,
    ],
  )
  return rows[0]!
}

/**
 * A success deletes the row. If the circuit is open, only an attempt that began after it opened closes it; an older one
 * only resets the failures in a row. Returns whether this closed an open circuit.
 */
export async function noteSuccess(db: Db, { tenant_id, target }: Target, startedAt: Date): Promise<boolean> {
  const { rows } = await db.query<{ was_open: boolean }>(
    `delete from destination_circuits
      where tenant_id = $1 and target = $2 and (opened_at is null or opened_at <= $3)
     returning opened_at is not null as was_open`,
    [tenant_id, target, startedAt],
  )
  if (rows[0]) return rows[0].was_open
  await db.query(
    `update destination_circuits set failures_in_a_row = 0, updated_at = clock_timestamp()
      where tenant_id = $1 and target = $2 and failures_in_a_row > 0`,
    [tenant_id, target],
  )
  return false
}

/**
 * The destination answered with an error, so it can be reached: the counted failures start again from 0. The answer to a
 * probe closes an open circuit; returns true if it did.
 */
export async function noteAnswer(db: Db, { tenant_id, target, delivery_id }: Target): Promise<boolean> {
  const { rows } = await db.query<{ was_open: boolean }>(
    `with held as (
       select opened_at is not null as was_open from destination_circuits
        where tenant_id = $1 and target = $2 and case when opened_at is null then failures > 0 else probe = $3 end
          for update)
     update destination_circuits
        set failures = 0, opened_at = null, open_until = null, openings = 0, probe = null, probe_until = null,
            updated_at = clock_timestamp()
       from held
      where tenant_id = $1 and target = $2
     returning was_open`,
    [tenant_id, target, delivery_id],
  )
  return rows[0]?.was_open ?? false
}

/** Allows a probe at once, because the destination may have recovered. False if no circuit is open. */
export async function halfOpen(db: Db, tenantId: string, target: string): Promise<boolean> {
  const { rowCount } = await db.query(
    `update destination_circuits
        set open_until = least(open_until, clock_timestamp()), updated_at = clock_timestamp()
      where tenant_id = $1 and target = $2 and opened_at is not null`,
    [tenantId, target],
  )
  return rowCount === 1
}

/** Forgets all failures, when the destination is enabled by hand. */
export async function resetCircuit(db: Db, tenantId: string, target: string): Promise<void> {
  await db.query('delete from destination_circuits where tenant_id = $1 and target = $2', [tenantId, target])
}

export interface CircuitState {
  state: CircuitStatus
  consecutive_failures: number
  failing_since: Date | null
  opened_at: Date | null
  open_until: Date | null
}

const CLOSED: CircuitState = {
  state: 'closed',
  consecutive_failures: 0,
  failing_since: null,
  opened_at: null,
  open_until: null,
}

/** The circuits of these registered destinations, by id; a healthy one has no row. */
export async function circuitStates(db: Db, ids: string[]): Promise<(id: string) => CircuitState> {
  const { rows } = await db.query<CircuitState & { target: string }>(
    `select target, failures_in_a_row as consecutive_failures, opened_at, open_until,
            case when failures_in_a_row > 0 then failing_since end as failing_since,
            case when opened_at is null then 'closed' when open_until > clock_timestamp() then 'open' else 'half_open' end
              as state
       from destination_circuits where target = any ($1)`,
    [ids],
  )
  const found = new Map(rows.map(({ target, ...state }) => [target, state]))
  return (id) => found.get(id) ?? CLOSED
}

/** Deletes unused rows: limits that no longer apply, targets without a change for a week, old health checks. */
export async function forgetLimits(db: Db): Promise<void> {
  await db.query('select forget_limits()')
}

/** The number of open circuits of all tenants. */
export async function openCircuits(db: Db): Promise<number> {
  const { rows } = await db.query<{ count: number }>('select open_circuits()::int as count')
  return rows[0]!.count
}
