// The destinations of a distribution that names none and that no rule routes.
import type { Db } from '../pool.ts'
import type { WhenNoDestination } from '../states.ts'

export interface DefaultRoute {
  destinations: string[]
  when_none: WhenNoDestination
}

export async function findDefaultRoute(db: Db, tenantId: string): Promise<DefaultRoute> {
  const { rows } = await db.query<DefaultRoute>(
    `select coalesce(config -> 'default_destinations', '[]') as destinations,
            case config ->> 'no_destination' when 'fail' then 'fail' else 'complete' end as when_none
       from tenants where id = $1`,
    [tenantId],
  )
  return rows[0] ?? { destinations: [], when_none: 'complete' }
}

export async function setDefaultRoute(db: Db, tenantId: string, route: DefaultRoute): Promise<void> {
  await db.query(
    `update tenants
        set config = config || jsonb_build_object('default_destinations', $2::jsonb, 'no_destination', $3::text),
            updated_at = clock_timestamp()
      where id = $1`,
    [tenantId, JSON.stringify(route.destinations), route.when_none],
  )
}
