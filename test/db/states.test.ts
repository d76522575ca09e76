import pg from 'pg'
import { afterAll, beforeAll, expect, it } from 'vitest'
import {
  ATTEMPT_STATUSES,
  BATCH_KINDS,
  BATCH_STATUSES,
  DELIVERY_STATUSES,
  DESTINATION_STATUSES,
  HEALTH_STATUSES,
  JOB_STATUSES,
  OPEN_JOB,
  OVERLAPS,
  PRIORITIES,
  ROLES,
  RULE_TYPES,
  TENANT_STATUSES,
} from '../../db/states.ts'
import { onEachPostgres } from '../support/postgres-versions.ts'

onEachPostgres((database) => {
  let db: pg.Client

  beforeAll(async () => {
    db = new pg.Client({ connectionString: database().adminUrl })
    await db.connect()
  })
  afterAll(() => db.end())

  it.each([
    ['chk_tenants_status', TENANT_STATUSES],
    ['chk_api_keys_role', ROLES],
    ['chk_destinations_status', DESTINATION_STATUSES],
    ['chk_destinations_health_status', HEALTH_STATUSES],
    ['chk_distribution_rules_rule_type', RULE_TYPES],
    ['chk_distribution_jobs_status', JOB_STATUSES],
    ['chk_distribution_jobs_priority', PRIORITIES],
    ['chk_distribution_deliveries_status', DELIVERY_STATUSES],
    ['chk_distribution_attempts_status', ATTEMPT_STATUSES],
    ['chk_batches_kind', BATCH_KINDS],
    // A batch begins at once, so the code never writes `pending`, which the specification allows.
    ['chk_batches_status', ['pending', ...BATCH_STATUSES]],
    ['chk_distribution_schedules_overlap', OVERLAPS],
  ])('the constraint %s allows the states that the code names', async (name, states) => {
    const { rows } = await db.query<{ definition: string }>(
      'select pg_get_constraintdef(oid) as definition from pg_constraint where conname = $1 and conparentid = 0',
      [name],
    )
    const allowed = [...rows[0]!.definition.matchAll(/'([^']+)'::/g)].map(([, state]) => state)
    expect(allowed.sort()).toEqual([...states].sort())
  })

  it('the index on open distributions covers the states that statements call open', async () => {
    await db.query('set enable_seqscan = off')
    const { rows } = await db.query<{ 'QUERY PLAN': string }>(
      `explain select from distribution_jobs where status in ${OPEN_JOB} and check_at <= clock_timestamp()`,
    )
    expect(rows.map((row) => row['QUERY PLAN']).join('\n')).toMatch(/Index.* Scan .*check_at/)
  })
})
