-- One key of one tenant names one job, for as long as the job is kept. Not partitioned, for uniqueness must hold over
-- months; without a foreign key, which would stand in the way of detaching a month (drop_month removes its keys).
create table idempotency_keys (
  tenant_id varchar(50) not null,
  key varchar(255) not null,
  request_sha256 bytea not null,
  job_id uuid not null,
  expires_at timestamptz,
  created_at timestamptz not null default now(),
  constraint idempotency_keys_pkey primary key (tenant_id, key)
);

-- For drop_month: the keys of a month's jobs.
create index idx_idempotency_keys_job_id on idempotency_keys (job_id);
