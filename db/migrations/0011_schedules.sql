-- Schedules: distributions that are submitted repeatedly. The schedule in Temporal is derived from this row, and is
-- created again if Temporal has lost its data.

create table distribution_schedules (
  id uuid not null default new_uuidv7(),
  tenant_id varchar(50) not null,
  name varchar(100) not null,
  description text,
  -- One of the two.
  cron varchar(200),
  interval_seconds integer,
  time_zone varchar(100) not null default 'UTC',
  overlap varchar(20) not null default 'skip',
  -- How far back missed times are made up after an outage. A year is Temporal's own default; the service bounds how
  -- many are made up at once.
  catchup_seconds integer not null default 31536000,
  paused boolean not null default false,
  -- The submission as it was sent, to be shown, and `template`, the checked form from which each distribution is made.
  -- The payload is kept apart, byte for byte. Secrets are references here.
  submission text not null,
  payload_text text not null,
  metadata_text text not null,
  template jsonb not null,
  version integer not null default 1,
  last_fired_at timestamptz,
  last_distribution_id uuid,
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  -- A deleted row stays until Temporal has deleted its schedule.
  deleted_at timestamptz,
  -- When the sweep updates Temporal from this row; null when they are equal.
  check_at timestamptz default clock_timestamp() + interval '10 seconds',
  -- Why the last time created no distribution, or why Temporal rejects the schedule; null if there is no problem.
  problem text,
  problem_at timestamptz,
  -- Every time up to this one has a distribution, is counted in `missed`, or was not required (it was before the schedule
  -- was created, changed or resumed).
  accounted_at timestamptz not null default clock_timestamp(),
  -- Times without a distribution: {count, first, last, times, reason, at, told_at}. Null if none was missed since the
  -- schedule was changed or resumed.
  missed jsonb,
  constraint distribution_schedules_pkey primary key (id),
  constraint chk_distribution_schedules_when check (num_nonnulls(cron, interval_seconds) = 1),
  constraint chk_distribution_schedules_interval check (interval_seconds between 10 and 31536000),
  constraint chk_distribution_schedules_overlap check (overlap in ('skip', 'buffer_one', 'buffer_all', 'allow_all')),
  constraint chk_distribution_schedules_catchup check (catchup_seconds between 10 and 31536000)
);

-- The list of one tenant, by name. The name of a deleted schedule is free again.
create unique index uk_distribution_schedules_name on distribution_schedules (tenant_id, name)
  where deleted_at is null;
-- The sweep.
create index idx_distribution_schedules_check_at on distribution_schedules (check_at) where check_at is not null;
