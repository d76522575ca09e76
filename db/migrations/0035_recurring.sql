-- Distributions that recur. The row is the intent; the schedule in Temporal follows it, and is made again from it when
-- Temporal has lost its data.
create table recurring_distributions (
  id uuid not null default new_uuidv7(),
  tenant_id varchar(50) not null,
  name varchar(100) not null,
  description text,
  -- Either of the two.
  cron varchar(200),
  interval_seconds integer,
  time_zone varchar(100) not null default 'UTC',
  overlap varchar(20) not null default 'skip',
  catchup_seconds integer not null default 60,
  paused boolean not null default false,
  -- The submission as it was sent, to be shown; and checked, as each distribution's row is made of it. The payload apart,
  -- byte for byte. Nothing in here is secret: secrets are references.
  submission text not null,
  payload_text text not null,
  metadata_text text not null,
  template jsonb not null,
  version integer not null default 1,
  last_fired_at timestamptz,
  last_distribution_id uuid,
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  deleted_at timestamptz,
  -- When the sweep should bring Temporal in line with this row; null once it is.
  check_at timestamptz default clock_timestamp() + interval '10 seconds',
  constraint recurring_distributions_pkey primary key (id),
  constraint chk_recurring_distributions_when check (num_nonnulls(cron, interval_seconds) = 1),
  constraint chk_recurring_distributions_interval check (interval_seconds between 10 and 31536000),
  constraint chk_recurring_distributions_overlap check (overlap in ('skip', 'buffer_one', 'buffer_all', 'allow_all')),
  constraint chk_recurring_distributions_catchup check (catchup_seconds between 10 and 31536000)
);

-- A name is free again after a deletion. Also the tenant's list, by name.
create unique index uk_recurring_distributions_name on recurring_distributions (tenant_id, name)
  where deleted_at is null;
-- The sweep.
create index idx_recurring_distributions_check_at on recurring_distributions (check_at) where check_at is not null;

alter table recurring_distributions enable row level security;
alter table recurring_distributions force row level security;
create policy recurring_distributions_tenant_policy on recurring_distributions for all
  using (tenant_id = nullif(current_setting('app.tenant_id', true), ''))
  with check (tenant_id = nullif(current_setting('app.tenant_id', true), ''));
create policy recurring_distributions_system_policy on recurring_distributions for all to distributor_system
  using (true) with check (true);
grant select, insert, update on recurring_distributions to distributor_app;
grant select on recurring_distributions to distributor_system;

-- Rows that Temporal is to be brought in line with: those whose check_at has come, or with p_all every living one too. By
-- id, those after p_after.
create function due_recurring(p_limit integer, p_all boolean default false, p_after uuid default null)
  returns table (tenant_id varchar(50), id uuid)
  language sql stable security definer
  set search_path = public, pg_temp
as $$
  select r.tenant_id, r.id
  from recurring_distributions r
  where (r.check_at <= clock_timestamp() or (p_all and (r.deleted_at is null or r.check_at is not null)))
    and (p_after is null or r.id > p_after)
  order by r.id
  limit p_limit
$$;
revoke all on function due_recurring(integer, boolean, uuid) from public;
grant execute on function due_recurring(integer, boolean, uuid) to distributor_app;
alter function due_recurring(integer, boolean, uuid) owner to distributor_system;
