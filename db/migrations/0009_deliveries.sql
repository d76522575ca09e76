-- The stored plan (one row per job and destination), every attempt, and what an attempt had to say. All are
-- partitioned by the job's id with the job's bounds: one unpartitioned child would block the detaching of a month.

create table distribution_deliveries (
  distribution_job_id uuid not null,
  destination_name varchar(100) not null,
  tenant_id varchar(50) not null,
  -- Stays over attempts and ordinary retries: what a receiver deduplicates by.
  delivery_id uuid not null default new_uuidv7(),
  protocol varchar(20) not null,
  -- The registered destination, or an inline configuration.
  destination_id uuid,
  configuration jsonb,
  configuration_version integer,
  position integer not null,
  status varchar(20) not null default 'pending',
  -- The last attempt_number; goes on over rounds.
  attempts integer not null default 0,
  round integer not null default 1,
  -- Used of this round's budget.
  round_attempts integer not null default 0,
  -- A rule's or the submission's own; null: the job's, then the destination's, then 3.
  max_retries integer,
  next_attempt_at timestamptz,
  error_code varchar(40),
  error_message text,
  response_status integer,
  response_time_ms integer,
  started_at timestamptz,
  completed_at timestamptz,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint distribution_deliveries_pkey primary key (distribution_job_id, destination_name),
  constraint fk_distribution_deliveries_job
    foreign key (distribution_job_id) references distribution_jobs (id) on delete cascade,
  constraint chk_distribution_deliveries_status
    check (status in ('pending', 'processing', 'waiting', 'success', 'failed', 'skipped', 'cancelled')),
  constraint chk_distribution_deliveries_protocol check (protocol in ('REST', 'AMQP', 'JDBC', 'S3', 'SFTP', 'EMAIL')),
  constraint chk_distribution_deliveries_counts
    check (attempts >= 0 and round_attempts >= 0 and round_attempts <= attempts and round > 0)
) partition by range (distribution_job_id);

create table distribution_attempts (
  id uuid not null default new_uuidv7(),
  distribution_job_id uuid not null,
  destination_name varchar(100) not null,
  attempt_number integer not null,
  status varchar(20) not null default 'pending',
  started_at timestamptz not null default clock_timestamp(),
  completed_at timestamptz,
  response_status_code integer,
  response_body text,
  error_message text,
  -- A delivery's code, such as TIMEOUT.
  retry_reason varchar(100),
  metadata jsonb not null default '{}',
  tenant_id varchar(50) not null,
  delivery_id uuid not null,
  round integer not null default 1,
  configuration_version integer,
  worker varchar(255),
  -- The seed's primary key (id) would lack the partition key.
  constraint distribution_attempts_pkey primary key (distribution_job_id, id),
  constraint fk_distribution_attempts_job
    foreign key (distribution_job_id) references distribution_jobs (id) on delete cascade,
  constraint uk_distribution_attempts_unique_attempt unique (distribution_job_id, destination_name, attempt_number),
  constraint chk_distribution_attempts_status
    check (status in ('pending', 'processing', 'success', 'failed', 'retry', 'cancelled')),
  constraint chk_distribution_attempts_valid_dates check (completed_at is null or completed_at >= started_at),
  constraint chk_distribution_attempts_attempt_number check (attempt_number > 0)
) partition by range (distribution_job_id);

-- Drawn by the seed without columns.
create table attempt_logs (
  id uuid not null default new_uuidv7(),
  distribution_job_id uuid not null,
  attempt_id uuid not null,
  tenant_id varchar(50) not null,
  level varchar(10) not null default 'info',
  message text not null,
  details jsonb not null default '{}',
  created_at timestamptz not null default clock_timestamp(),
  constraint attempt_logs_pkey primary key (distribution_job_id, id),
  constraint fk_attempt_logs_attempt
    foreign key (distribution_job_id, attempt_id) references distribution_attempts (distribution_job_id, id)
    on delete cascade,
  constraint chk_attempt_logs_level check (level in ('debug', 'info', 'warn', 'error'))
) partition by range (distribution_job_id);
