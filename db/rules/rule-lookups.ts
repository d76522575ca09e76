// The lookups of a plan by rules: destinations by name and tag, counters for load balancing, recent failures.

import type { Db } from '../pool.ts'
import type { DestinationStatus, Protocol } from '../states.ts'

/** A registered destination as rules see it. */
export interface Candidate {
  id: string
  name: string
  protocol: Protocol
  status: DestinationStatus
  deleted: boolean
  tags: string[]
  unhealthy: boolean
}

/**
 * The tenant's destinations with one of these names, and those with one of these tags. A deleted destination is found only
 * by its name, and only if no other destination has that name now.
 */
export async function findCandidates(db: Db, names: string[], tags: string[]): Promise<Candidate[]> {
  if (names.length === 0 && tags.length === 0) return []
  const { rows } = await db.query<Candidate>(
    `select distinct on (name) id, name, protocol, status, deleted_at is not null as deleted, tags,
            health_status = 'unhealthy'
              or exists (select from destination_circuits c
                          where c.tenant_id = d.tenant_id and c.target = d.id::text and c.opened_at is not null) as unhealthy
       from destinations d
      where name = any ($1) or (deleted_at is null and tags && $2::text[])
      order by name, deleted_at desc nulls first`,
    [names, tags],
  )
  return rows
}

/** The names and tags that no destination has; deleted destinations do not count. */
export async function findUnknownTargets(
  db: Db,
  names: string[],
  tags: string[],
): Promise<{ names: Set<string>; tags: Set<string> }> {
  const { rows } = await db.query<{ names: string[]; tags: string[] }>(
    `select array(select n from unnest($1::text[]) as n
                   where not exists (select from destinations d where d.name = n and d.deleted_at is null)) as names,
            array(select t from unnest($2::text[]) as t
                   where not exists (select from destinations d where d.tags @> array[t] and d.deleted_at is null)) as tags`,
    [names, tags],
  )
  return { names: new Set(rows[0]!.names), tags: new Set(rows[0]!.tags) }
}

/** The names of the tenant's destinations, at most a thousand, to suggest one for a misspelt name. */
export async function knownNames(db: Db): Promise<string[]> {
  const { rows } = await db.query<{ name: string }>(
    'select name from destinations where deleted_at is null order by name limit 1000',
  )
  return rows.map(({ name }) => name)
}

const MAX_NAMING = 100

/** Where a destination is named: in the tenant's rules, enabled or not, at most a hundred, and in its default route. */
export async function findNaming(
  db: Db,
  tenantId: string,
  destination: string,
): Promise<{ named_by_rules: string[]; in_default_route: boolean }> {
  const { rows } = await db.query<{ named_by_rules: string[]; in_default_route: boolean }>(
    `select array(select r.name from distribution_rules r
                   where r.tenant_id = $1 and r.actions -> 'destinations' ? $2
                   order by r.name collate "C" limit $3) as named_by_rules,
            coalesce((select t.config -> 'default_destinations' ? $2 from tenants t where t.id = $1), false)
              as in_default_route`,
    [tenantId, destination, MAX_NAMING],
  )
  return rows[0]!
}

/** Takes the next number of each rule's counter, from 0, over all workers. The rows stay locked until the transaction ends. */
export async function takeTurns(db: Db, tenantId: string, ruleIds: string[]): Promise<Map<string, number>> {
  const { rows } = await db.query<{ rule_id: string; turn: number }>(
    `insert into rule_turns (tenant_id, rule_id, turns)
     select $1, r.id, 1 from unnest($2::uuid[]) as r (id) order by r.id
     on conflict (tenant_id, rule_id) do update set turns = rule_turns.turns + 1
     returning rule_id, (turns - 1)::float8 as turn`,
    [tenantId, ruleIds],
  )
  return new Map(rows.map(({ rule_id, turn }) => [rule_id, turn]))
}

/** The next numbers, without taking them. */
export async function peekTurns(db: Db, ruleIds: string[]): Promise<Map<string, number>> {
  const { rows } = await db.query<{ rule_id: string; turn: number }>(
    'select rule_id, turns::float8 as turn from rule_turns where rule_id = any ($1)',
    [ruleIds],
  )
  return new Map(rows.map(({ rule_id, turn }) => [rule_id, turn]))
}

/** Attempts of each destination that count as recent. */
const RECENT = { minutes: 15, attempts: 50 }

/** The share of each destination's recent attempts that did not succeed, 0 to 1. */
export async function recentFailures(db: Db, tenantId: string, names: string[]): Promise<Map<string, number>> {
  const { rows } = await db.query<{ name: string; failing: number }>(
    `select n.name, coalesce(avg((a.status <> 'success')::int), 0)::float8 as failing
       from unnest($2::text[]) as n (name)
       left join lateral (
         select a.status from distribution_attempts a
          where a.tenant_id = $1 and a.destination_name = n.name and a.status in ('success', 'failed', 'retry')
            and a.started_at > now() - $3 * interval '1 minute'
            -- So that only one or two monthly partitions are read; older distributions are left out.
            and a.distribution_job_id >= id_floor(now() - interval '1 day')
          order by a.started_at desc limit $4) a on true
      group by n.name`,
    [tenantId, names, RECENT.minutes, RECENT.attempts],
  )
  return new Map(rows.map(({ name, failing }) => [name, failing]))
}
