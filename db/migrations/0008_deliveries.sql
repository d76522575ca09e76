-- The plan of each distribution, every attempt, and the log of each attempt. All three are partitioned by the
-- distribution's id with the same bounds: an unpartitioned child table would block detaching a month.

-- The plan: one row per distribution and destination. A column that changes in every delivery is in no index, so that
-- PostgreSQL can write the updates as HOT updates; with `status` in the predicate of an index a delivery wrote 1,196
-- bytes of WAL from plan to success, without it 837 (measured). So the indexes use the generated columns at the end,
-- which are null in nearly all rows.
create table distribution_deliveries (
  distribution_job_id uuid not null,
  destination_name varchar(100) not null,
  tenant_id varchar(50) not null,
  -- The same for all attempts and manual retries. Receivers use it to recognise a repeat.
  delivery_id uuid not null default new_uuidv7(),
  -- No foreign key to destination_types: each insert would lock the row of its protocol there, which all deliveries
  -- share, and write 60 to 90 bytes more of WAL (measured). The plan writes only protocols of the program.
  protocol varchar(20) not null,
  -- Either the registered destination or an inline configuration.
  destination_id uuid,
  configuration jsonb,
  configuration_version integer,
  position integer not null,
  status varchar(20) not null default 'pending',
  -- The last attempt_number; a manual retry does not reset it.
  attempts integer not null default 0,
  round integer not null default 1,
  -- Attempts of this round, counted against its budget.
  round_attempts integer not null default 0,
  -- From a rule or the submission's entry; null: the distribution's, then the destination's, then 3.
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
  -- Some destinations can succeed in part, such as a mail that one recipient's server accepted and another deferred.
  -- Data that one attempt stores for the next; its form depends on the protocol. Null: none.
  progress jsonb,
  -- A rule's transform_config; null: that of the destination holds.
  shape jsonb,
  -- The deliveries of one failover group serve one purpose, so one success is enough. Null: no group.
  failover_group integer,
  -- Open, but not sent before the deliveries ahead of it in its group have failed permanently.
  standby boolean not null default false,
  -- The key of the circuit and of the limits of an inline destination: protocol, host and port. The key of a registered
  -- destination is its id.
  target varchar(400),
  -- As in its distribution, because a delivery looks for its predecessors at every attempt.
  ordering_key varchar(255),
  ordering_seq bigint,
  ordering_blocks boolean not null default false,
  -- In a failover group, but another rule sends it in any case: a success elsewhere in the group does not replace it.
  required boolean not null default false,
  -- Why it waits without an attempt; null when it waits for another reason, such as the delay after a failure.
  deferred_by varchar(20),
  -- How often it was resumed. A wait that began before the last time is void.
  resumes integer not null default 0,
  -- The effect of a delivery with an ordering key on the deliveries behind it.
  ordering_state text generated always as (
    case when ordering_key is null then null
         when status = 'processing' then 'sending'
         -- It was checked, and others come first. All other waiting deliveries have a next_attempt_at.
         when status = 'waiting' and next_attempt_at is null then 'held'
         when status in ('pending', 'waiting') then 'open'
         when status = 'failed' and ordering_blocks then 'blocking'
    end) stored,
  -- The target that it waits for.
  deferred_target text generated always as (
    case when status = 'waiting' and deferred_by is not null then coalesce(target, destination_id::text) end) stored,
  -- When it failed permanently.
  failed_at timestamptz generated always as (case when status = 'failed' then completed_at end) stored,
  constraint distribution_deliveries_pkey primary key (distribution_job_id, destination_name),
  constraint fk_distribution_deliveries_job
    foreign key (distribution_job_id) references distribution_jobs (id) on delete cascade,
  constraint chk_distribution_deliveries_status
    check (status in ('pending', 'processing', 'waiting', 'success', 'failed', 'skipped', 'cancelled')),
  constraint chk_distribution_deliveries_counts
    check (attempts >= 0 and round_attempts >= 0 and round_attempts <= attempts and round > 0)
) partition by range (distribution_job_id);

-- List filter destination.
create index idx_distribution_deliveries_destination
  on distribution_deliveries (tenant_id, destination_name, distribution_job_id desc);
-- Deliveries that wait for one target, oldest first.
create index idx_distribution_deliveries_deferred
  on distribution_deliveries (tenant_id, deferred_target, distribution_job_id) where deferred_target is not null;
-- The deliveries ahead of another one, and the next one. Finished deliveries are not in this index, so that a key that
-- was used a million times costs no more than a new one.
create index idx_distribution_deliveries_ordering
  on distribution_deliveries (tenant_id, ordering_key, destination_name, ordering_seq)
  where ordering_state is not null;
-- The delivery of a key that is being sent; ten thousand may be held behind it.
create index idx_distribution_deliveries_sending
  on distribution_deliveries (tenant_id, ordering_key, destination_name, ordering_seq)
  where ordering_state = 'sending';
-- The sweep: the first held delivery of each key.
create index idx_distribution_deliveries_held
  on distribution_deliveries (tenant_id, ordering_key, destination_name, ordering_seq)
  where ordering_state = 'held';
-- count_failed_deliveries: the permanent failures of the last seconds.
create index idx_distribution_deliveries_failed_at on distribution_deliveries (failed_at) where failed_at is not null;
-- Deliveries that wait for a target, or were resumed in the last seconds and have not started yet: deliveries are resumed
-- only as fast as they start. deferred_by never changes in a delivery that does not wait, so its updates stay HOT.
create index idx_distribution_deliveries_put_off
  on distribution_deliveries (tenant_id, deferred_target, updated_at)
  where deferred_by in ('resumed', 'share', 'concurrency', 'rate_limit');

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
  -- The error code, such as TIMEOUT.
  retry_reason varchar(100),
  metadata jsonb not null default '{}',
  tenant_id varchar(50) not null,
  delivery_id uuid not null,
  round integer not null default 1,
  configuration_version integer,
  worker varchar(255),
  -- The specification's primary key (id) lacks the partition key.
  constraint distribution_attempts_pkey primary key (distribution_job_id, id),
  constraint fk_distribution_attempts_job
    foreign key (distribution_job_id) references distribution_jobs (id) on delete cascade,
  constraint uk_distribution_attempts_unique_attempt unique (distribution_job_id, destination_name, attempt_number),
  constraint chk_distribution_attempts_status
    check (status in ('pending', 'processing', 'success', 'failed', 'retry', 'cancelled')),
  constraint chk_distribution_attempts_valid_dates check (completed_at is null or completed_at >= started_at),
  constraint chk_distribution_attempts_attempt_number check (attempt_number > 0)
) partition by range (distribution_job_id);

-- All attempts of a distribution.
create index idx_distribution_attempts_job_id on distribution_attempts (distribution_job_id);
create index idx_distribution_attempts_status on distribution_attempts (status);
-- The last 24 hours (destination_health_mv).
create index idx_distribution_attempts_started_at on distribution_attempts (started_at desc);
create index idx_distribution_attempts_destination on distribution_attempts (destination_name);
create index idx_distribution_attempts_response_code on distribution_attempts (response_status_code);
-- Troubleshooting: one destination of one distribution.
create index idx_distribution_attempts_job_destination_status
  on distribution_attempts (distribution_job_id, destination_name, status);
-- The rule action that picks the destination that fails least: the last attempts of one destination.
create index idx_distribution_attempts_recent
  on distribution_attempts (tenant_id, destination_name, started_at desc);

-- The specification names this table without columns.
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

-- The log of one attempt; also the cascade from it.
create index idx_attempt_logs_attempt on attempt_logs (distribution_job_id, attempt_id);
