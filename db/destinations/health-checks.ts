// Health checks: the destination to probe, the history of the results, and the latest result at the destination.

import type { Db } from '../pool.ts'
import type { DeliveryCode, HealthStatus, Protocol, TenantStatus } from '../states.ts'

export interface ProbeResult {
  /** Set if it was not probed, because too many probes of this tenant run: milliseconds until the next try. */
  busy_ms?: number
  healthy: boolean
  code: DeliveryCode | null
  message: string | null
  response_time_ms: number
}

interface DestinationToProbe {
  protocol: Protocol
  configuration: Record<string, unknown>
  tenant_status: TenantStatus
}

export async function findDestinationToProbe(db: Db, id: string): Promise<DestinationToProbe | null> {
  const { rows } = await db.query<DestinationToProbe>(
    `select d.protocol, d.configuration, t.status as tenant_status
       from destinations d join tenants t on t.id = d.tenant_id
      where d.id = $1 and d.deleted_at is null`,
    [id],
  )
  return rows[0] ?? null
}

export interface HealthCheckRow {
  tenant_id: string
  destination_id: string
  interval_seconds: number
}

/** The destinations of all tenants with periodic health checks. */
export async function healthCheckSchedules(db: Db): Promise<HealthCheckRow[]> {
  const { rows } = await db.query<HealthCheckRow>('select * from health_check_schedules()')
  return rows
}

/** Adds the result of one probe, unless the destination no longer exists. */
export async function recordHealthCheck(db: Db, destinationId: string, result: ProbeResult): Promise<void> {
  const status: HealthStatus = result.healthy ? 'healthy' : 'unhealthy'
  await db.query(
    `with checked as (
       update destinations
          set health_status = $2, last_health_check = clock_timestamp()
        where id = $1
       returning id, tenant_id)
     insert into destination_health_checks
            (destination_id, tenant_id, health_status, error_code, error_message, response_time_ms)
     select id, tenant_id, $2, $3, $4, $5 from checked`,
    [destinationId, status, result.code, result.message, result.response_time_ms],
  )
}
