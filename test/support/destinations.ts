// Inserts registered destinations into the table, for tests of the permissions of a destination.
import type { TestSystem } from './system.ts'

export interface GivenDestination {
  tenant?: string
  configuration?: Record<string, unknown>
  circuit_breaker?: Record<string, unknown>
  auto_disable?: Record<string, unknown>
  rate_limit?: Record<string, unknown>
  max_concurrency?: number
  health_check_config?: Record<string, unknown>
}

/** A REST destination of this name; answers its id. */
export async function register(
  system: Pick<TestSystem, 'as'>,
  name: string,
  endpoint: string,
  given: GivenDestination = {},
): Promise<string> {
  const tenant = given.tenant ?? 'acme'
  const json = (value: unknown) => (value === undefined ? null : JSON.stringify(value))
  const { rows } = await system.as(tenant, (db) =>
    db.query<{ id: string }>(
      `insert into destinations (tenant_id, name, protocol, configuration, circuit_breaker, auto_disable, rate_limit,
                                 max_concurrency, health_check_config)
       values ($1, $2, 'REST', $3, $4, $5, $6, $7, coalesce($8::jsonb, '{}')) returning id`,
      [
        tenant,
        name,
        JSON.stringify({ endpoint, ...given.configuration }),
        json(given.circuit_breaker),
        json(given.auto_disable),
        json(given.rate_limit),
        given.max_concurrency ?? null,
        json(given.health_check_config),
      ],
    ),
  )
  return rows[0]!.id
}
