// Every query of the specification of the schema, word for word where it can run, with its expected answer, on the
// oldest and the newest PostgreSQL. `fill` writes the rows. Times are relative, because the queries look back from now.
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { TestDatabase } from '../support/postgres.ts'
import { onEachPostgres } from '../support/postgres-versions.ts'
import { aDestination, aJob, anAttempt, aTenant, idOf } from '../support/rows.ts'

/** One hour, so that all three fall into one bucket however late in the hour the test runs. */
async function fill(db: pg.Client): Promise<void> {
  await db.query("select make_month((now() - interval '1 month')::date)")
  for (const tenant of ['acme', 'globex']) await aTenant(db, tenant)
  await aDestination(db, { tenant_id: 'acme', health_status: 'healthy', tags: ['eu', 'prod'] })
  // The same name in another tenant must not count its attempts.
  await aDestination(db, { tenant_id: 'globex', health_status: 'unhealthy' })
  const { rows } = await db.query("select date_trunc('hour', now() - interval '2 hours') as hour")
  const at = (minutes: number) => new Date(rows[0].hour.getTime() + minutes * 60_000)
  const id = (minutes: number) => idOf(db, at(minutes))

  const completed = await aJob(db, {
    id: await id(1),
    tenant_id: 'acme',
    status: 'completed',
    completed_at: at(2),
    payload: { report_id: 'r-1', region: 'eu' },
    metadata: { source: 'nightly' },
    retry_count: 1,
  })
  for (const [attempt_number, status, seconds] of [
    [1, 'retry', 1],
    [2, 'success', 3],
  ] as const) {
    const started_at = at(1)
    const completed_at = new Date(started_at.getTime() + seconds * 1000)
    await anAttempt(db, {
      distribution_job_id: completed,
      tenant_id: 'acme',
      attempt_number,
      status,
      started_at,
      completed_at,
    })
  }

  const failed = await aJob(db, {
    id: await id(3),
    tenant_id: 'acme',
    status: 'failed',
    completed_at: at(6),
    error_message: 'refused',
    expires_at: at(10),
    payload: { report_id: 'r-2' },
    retry_count: 2,
  })
  for (const attempt_number of [1, 2, 3]) {
    await anAttempt(db, {
      distribution_job_id: failed,
      tenant_id: 'acme',
      attempt_number,
      status: attempt_number === 3 ? 'failed' : 'retry',
      started_at: at(3),
      completed_at: at(4),
      response_status_code: 503,
      error_message: `try ${attempt_number}`,
    })
  }
  await aJob(db, { id: await id(5), tenant_id: 'acme', expires_at: new Date(Date.now() + 3_600_000) })
  const foreign = await aJob(db, { id: await id(7), tenant_id: 'globex', payload: { report_id: 'r-1' } })
  await anAttempt(db, {
    distribution_job_id: foreign,
    tenant_id: 'globex',
    status: 'failed',
    started_at: at(7),
    completed_at: at(7),
  })
  for (const [name, priority, enabled] of [
    ['eu-reports', 10, true],
    ['everything', 1, true],
    ['switched-off', 99, false],
  ] as const) {
    await db.query(
      `insert into distribution_rules (name, rule_type, tenant_id, priority, enabled, conditions)
       values ($1, 'routing', 'acme', $2, $3, $4)`,
      [name, priority, enabled, JSON.stringify({ region: name === 'eu-reports' ? 'eu' : 'any' })],
    )
  }
}

interface Case {
  name: string
  sql: string
  params?: unknown[]
  expected: unknown[]
}

const CASES: Case[] = [
  {
    name: 'the dashboard query',
    sql: `
      SELECT
          DATE_TRUNC('hour', created_at) AS hour,
          status,
          COUNT(*) AS count,
          AVG(EXTRACT(EPOCH FROM (completed_at - created_at))) AS avg_duration
      FROM distribution_jobs
      WHERE created_at >= CURRENT_DATE - INTERVAL '24 hours'
          AND tenant_id = $1
      GROUP BY DATE_TRUNC('hour', created_at), status
      ORDER BY hour DESC`,
    params: ['acme'],
    expected: [
      { status: 'completed', count: '1', avg_duration: '60.0000000000000000' },
      { status: 'failed', count: '1', avg_duration: '180.0000000000000000' },
      { status: 'pending', count: '1', avg_duration: null },
    ],
  },
  {
    name: 'the troubleshooting query',
    sql: `
      SELECT
          dj.distribution_id,
          dj.status,
          dj.error_message,
          da.destination_name,
          da.attempt_number,
          da.error_message AS attempt_error,
          da.response_status_code
      FROM distribution_jobs dj
      LEFT JOIN distribution_attempts da ON da.distribution_job_id = dj.id
      WHERE dj.status = 'failed'
          AND dj.created_at >= CURRENT_DATE - INTERVAL '7 days'
          AND dj.tenant_id = $1
      ORDER BY dj.created_at DESC, da.attempt_number`,
    params: ['acme'],
    expected: [1, 2, 3].map((attempt_number) => ({
      distribution_id: expect.stringMatching(/^dist_[0-9a-f-]{36}$/),
      status: 'failed',
      error_message: 'refused',
      destination_name: 'warehouse',
      attempt_number,
      attempt_error: `try ${attempt_number}`,
      response_status_code: 503,
    })),
  },
  {
    name: 'the summary view, after a refresh',
    sql: `
      SELECT tenant_id, data_type, status, total_distributions, completed_distributions, failed_distributions,
             avg_completion_time_seconds, total_retries
      FROM distribution_summary_mv ORDER BY tenant_id, status`,
    expected: [
      summary('acme', 'completed', { completed: '1', seconds: '60.0000000000000000', retries: '1' }),
      summary('acme', 'failed', { failed: '1', seconds: '180.0000000000000000', retries: '2' }),
      summary('acme', 'pending', {}),
      summary('globex', 'pending', {}),
    ],
  },
  {
    name: 'the health view, after a refresh',
    sql: 'SELECT * FROM destination_health_mv ORDER BY tenant_id',
    expected: [
      {
        tenant_id: 'acme',
        name: 'warehouse',
        protocol: 'REST',
        health_status: 'healthy',
        last_health_check: null,
        total_attempts_last_24h: '5',
        successful_attempts_last_24h: '1',
        failed_attempts_last_24h: '1',
        success_rate_last_24h: '20.00',
        // (1 + 3 + 3 × 60) / 5
        avg_response_time_seconds: '36.8000000000000000',
      },
      {
        tenant_id: 'globex',
        name: 'warehouse',
        protocol: 'REST',
        health_status: 'unhealthy',
        last_health_check: null,
        total_attempts_last_24h: '1',
        successful_attempts_last_24h: '0',
        failed_attempts_last_24h: '1',
        success_rate_last_24h: '0.00',
        avg_response_time_seconds: '0.00000000000000000000',
      },
    ],
  },
  {
    name: 'a report by its id in the payload',
    sql: `SELECT tenant_id FROM distribution_jobs WHERE payload ? 'report_id' AND payload->>'report_id' = $1 ORDER BY 1`,
    params: ['r-1'],
    expected: [{ tenant_id: 'acme' }, { tenant_id: 'globex' }],
  },
  {
    name: 'a question to payload and metadata',
    sql: `SELECT payload FROM distribution_jobs WHERE payload @> '{"region": "eu"}' AND metadata @> '{"source": "nightly"}'`,
    expected: [{ payload: { report_id: 'r-1', region: 'eu' } }],
  },
  {
    name: 'what the clean-up finds: finished and expired',
    sql: `SELECT tenant_id, status FROM distribution_jobs WHERE status IN ('completed', 'failed') AND expires_at < NOW() ORDER BY 2`,
    expected: [
      { tenant_id: 'acme', status: 'completed' },
      { tenant_id: 'acme', status: 'failed' },
    ],
  },
  {
    name: 'what is under way',
    sql: `SELECT tenant_id FROM distribution_jobs WHERE status IN ('pending', 'processing') ORDER BY created_at DESC`,
    expected: [{ tenant_id: 'globex' }, { tenant_id: 'acme' }],
  },
  {
    name: 'the composite search',
    sql: `
      SELECT data_type FROM distribution_jobs
      WHERE tenant_id = $1 AND status = $2 AND created_at >= CURRENT_DATE - INTERVAL '90 days' AND data_type = $3
      ORDER BY created_at DESC`,
    params: ['acme', 'failed', 'report'],
    expected: [{ data_type: 'report' }],
  },
  {
    name: 'destinations by tag and by configuration',
    sql: `
      SELECT tenant_id, name FROM destinations
      WHERE tags @> ARRAY['prod'] AND configuration @> '{"endpoint": "https://warehouse.example/in"}'`,
    expected: [{ tenant_id: 'acme', name: 'warehouse' }],
  },
  {
    name: 'enabled rules by priority',
    sql: `SELECT name FROM distribution_rules WHERE tenant_id = $1 AND enabled ORDER BY priority DESC`,
    params: ['acme'],
    expected: [{ name: 'eu-reports' }, { name: 'everything' }],
  },
  {
    name: 'rules by condition',
    sql: `SELECT name FROM distribution_rules WHERE conditions @> '{"region": "eu"}'`,
    expected: [{ name: 'eu-reports' }],
  },
  {
    name: 'the lookups',
    sql: `
      SELECT (SELECT array_agg(id ORDER BY id) FROM destination_types) AS destination_types,
             (SELECT array_agg(id ORDER BY id) FROM rule_types) AS rule_types`,
    expected: [
      {
        destination_types: ['AMQP', 'EMAIL', 'JDBC', 'REST', 'S3', 'SFTP'],
        rule_types: ['filtering', 'prioritization', 'routing', 'transformation'],
      },
    ],
  },
  {
    name: 'the migration of expires_at, which finds nothing left to do',
    sql: `
      UPDATE distribution_jobs
      SET expires_at = created_at + INTERVAL '30 days'
      WHERE expires_at IS NULL AND status IN ('completed', 'failed')
      RETURNING id`,
    expected: [],
  },
  {
    name: 'the storage of payload and metadata',
    sql: `
      SELECT DISTINCT attname, attstorage FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
      WHERE c.relname LIKE 'distribution_jobs%' AND c.relkind IN ('r', 'p') AND attname IN ('payload', 'metadata')
      ORDER BY 1`,
    expected: [
      { attname: 'metadata', attstorage: 'e' },
      { attname: 'payload', attstorage: 'e' },
    ],
  },
]

function summary(
  tenant_id: string,
  status: string,
  of: { completed?: string; failed?: string; seconds?: string; retries?: string },
): unknown {
  return {
    tenant_id,
    data_type: 'report',
    status,
    total_distributions: '1',
    completed_distributions: of.completed ?? '0',
    failed_distributions: of.failed ?? '0',
    avg_completion_time_seconds: of.seconds ?? null,
    total_retries: of.retries ?? '0',
  }
}

/** The indexes of the specification. On a partitioned table they exist once, on the parent. */
const SEED_INDEXES = [
  'idx_distribution_jobs_tenant_status',
  'idx_distribution_jobs_created_at',
  'idx_distribution_jobs_distribution_id',
  'idx_distribution_jobs_data_type',
  'idx_distribution_jobs_priority',
  'idx_distribution_jobs_expires_at',
  'idx_distribution_jobs_payload_gin',
  'idx_distribution_jobs_metadata_gin',
  'idx_distribution_jobs_expired',
  'idx_distribution_jobs_composite_search',
  'idx_distribution_jobs_active',
  'idx_distribution_jobs_payload_path',
  'idx_distribution_attempts_job_id',
  'idx_distribution_attempts_status',
  'idx_distribution_attempts_started_at',
  'idx_distribution_attempts_destination',
  'idx_distribution_attempts_response_code',
  'idx_distribution_attempts_job_destination_status',
  'idx_destinations_protocol',
  'idx_destinations_status',
  'idx_destinations_health_status',
  'idx_destinations_last_used',
  'idx_destinations_tags',
  'idx_destinations_config_gin',
  'idx_distribution_rules_type',
  'idx_distribution_rules_enabled',
  'idx_distribution_rules_tenant',
  'idx_distribution_rules_priority',
  'idx_distribution_rules_conditions_gin',
  'idx_tenants_status',
  'idx_data_types_name',
  'idx_distribution_summary_mv_hour_bucket',
  'idx_destination_health_mv_name',
  'idx_destination_health_mv_health_status',
]

onEachPostgres((database: () => TestDatabase) => {
  let owner: pg.Client
  let superuser: pg.Client

  beforeAll(async () => {
    owner = new pg.Client({ connectionString: database().adminUrl })
    // Only the superuser may read the materialized views, which are granted to no one.
    superuser = new pg.Client({ connectionString: database().superuserUrl })
    await Promise.all([owner.connect(), superuser.connect()])
    await fill(owner)
    await owner.query('select refresh_views()')
  })
  afterAll(() => Promise.all([owner.end(), superuser.end()]))

  it.each(CASES)('answers $name', async ({ sql, params, expected }) => {
    const { rows } = await superuser.query(sql, params ?? [])
    // The hour bucket is whatever hour it was; that it is one bucket shows in the counts.
    expect(rows.map(({ hour, ...row }) => row)).toEqual(expected)
  })

  it('has every index of the specification', async () => {
    const { rows } = await superuser.query('select relname from pg_class where relname = any($1)', [SEED_INDEXES])
    expect(rows.map((row) => row.relname).sort()).toEqual([...SEED_INDEXES].sort())
  })

  describe('the stored procedures, called as the specification declares them', () => {
    it('submit and update the status of a distribution', async () => {
      await owner.query('begin')
      const { rows: made } = await owner.query("select 'dist_' || new_uuidv7() as distribution_id")
      const { distribution_id } = made[0]
      await owner.query(
        `CALL submit_distribution('acme', $1, 'report', '{"a": 1}', '[{"name": "warehouse"}]', 'high',
           'https://caller.example/done', 5, now() + interval '1 day')`,
        [distribution_id],
      )
      await owner.query("CALL update_distribution_status($1, 'processing')", [distribution_id])
      await owner.query("CALL update_distribution_status($1, 'failed', 'refused')", [distribution_id])
      await owner.query('commit')
      const job = await owner.query(
        `select status, priority, max_retries, error_message, completed_at is not null as completed,
                expires_at > now() + interval '23 hours' as kept_expiry
         from distribution_jobs where distribution_id = $1`,
        [distribution_id],
      )
      expect(job.rows).toEqual([
        {
          status: 'failed',
          priority: 'high',
          max_retries: 5,
          error_message: 'refused',
          completed: true,
          kept_expiry: true,
        },
      ])
      const audit = await owner.query(
        'select action, resource_type, details from audit_log where resource_id = $1 order by id',
        [distribution_id.slice(5)],
      )
      expect(audit.rows).toMatchObject([
        { action: 'submit', resource_type: 'distribution_job', details: { tenant_id: 'acme', distribution_id } },
        { action: 'status_update', details: { old_status: 'pending', new_status: 'processing' } },
        {
          action: 'status_update',
          details: { old_status: 'processing', new_status: 'failed', error_message: 'refused' },
        },
      ])
    })

    it('raise the specified error for a distribution that does not exist', async () => {
      const id = `dist_${await idOf(owner, new Date())}`
      for (const missing of [id, 'nonsense']) {
        await expect(owner.query("CALL update_distribution_status($1, 'failed')", [missing])).rejects.toThrow(
          `Distribution job not found: ${missing}`,
        )
      }
    })
  })

  describe('encrypt_sensitive_data', () => {
    it('gives back what it encrypted with AES-256, and differs each time', async () => {
      await owner.query('begin')
      await owner.query("select set_config('app.encryption_key', 'correct horse', true)")
      const { rows } = await owner.query(
        `select e as encrypted, decrypt_sensitive_data(e) as decrypted, encrypt_sensitive_data('Grüße') as again,
                decode(e, 'base64') as bytes
         from encrypt_sensitive_data('Grüße') as e`,
      )
      await owner.query('commit')
      expect(rows[0].decrypted).toBe('Grüße')
      expect(rows[0].encrypted).not.toBe(rows[0].again)
      expect(rows[0].bytes.includes('Grüße')).toBe(false)
      // OpenPGP (RFC 4880): a symmetric-key session packet of version 4, then the cipher: 9 is AES-256.
      expect([...rows[0].bytes.subarray(2, 4)]).toEqual([4, 9])
    })

    it('refuses without a key, and to decrypt with another', async () => {
      await expect(owner.query("select encrypt_sensitive_data('x')")).rejects.toThrow('app.encryption_key is not set')
      await expect(owner.query("select decrypt_sensitive_data('x')")).rejects.toThrow('app.encryption_key is not set')
      await owner.query('begin')
      await owner.query("select set_config('app.encryption_key', 'one', true)")
      const { rows } = await owner.query("select encrypt_sensitive_data('x') as encrypted")
      await owner.query("select set_config('app.encryption_key', 'two', true)")
      await expect(owner.query('select decrypt_sensitive_data($1)', [rows[0].encrypted])).rejects.toThrow()
      await owner.query('rollback')
    })
  })
})
