-- Operator events that are told once per window with a count: deliveries that failed for good or expired, by destination,
-- and distributions that could not be carried out at all. What happens a thousand times is one event.

create table event_windows (
  tenant_id varchar(50) not null,
  event_type varchar(40) not null,
  -- A destination's name, '(ad-hoc)' for all inline ones together, or a code.
  subject varchar(100) not null,
  -- What no event has told yet: how many, how many by code, since when, and until when.
  untold bigint not null default 0,
  codes jsonb not null default '{}',
  first_at timestamptz not null,
  last_at timestamptz not null,
  -- The last one, as an example.
  details jsonb not null default '{}',
  told_at timestamptz,
  constraint event_windows_pkey primary key (tenant_id, event_type, subject)
);
alter table event_windows enable row level security;
alter table event_windows force row level security;
create policy event_windows_tenant_policy on event_windows for all
  using (tenant_id = nullif(current_setting('app.tenant_id', true), ''))
  with check (tenant_id = nullif(current_setting('app.tenant_id', true), ''));
create policy event_windows_system_policy on event_windows for all to distributor_system using (true) with check (true);
grant select, insert, update on event_windows to distributor_app;
grant select, insert, update, delete on event_windows to distributor_system;
grant insert on operator_events to distributor_system;

-- Up to when failed deliveries have been counted.
create table event_marks (
  name varchar(40) not null,
  seen_until timestamptz not null,
  constraint event_marks_pkey primary key (name)
);
insert into event_marks (name, seen_until) values ('deliveries.failed', clock_timestamp());
grant select, update on event_marks to distributor_system;

-- When a delivery failed for good, in a column of its own: null for nearly all, whose updates then change nothing that an
-- index goes by (as 0041 has it).
alter table distribution_deliveries
  add column failed_at timestamptz generated always as (case when status = 'failed' then completed_at end) stored;
create index idx_distribution_deliveries_failed_at on distribution_deliveries (failed_at) where failed_at is not null;

-- Adds counts to a window. Two counts by code are added up code by code.
create function add_codes(p_one jsonb, p_other jsonb) returns jsonb
  language sql immutable
  set search_path = public, pg_temp
as $$
  select coalesce(jsonb_object_agg(key, sum), '{}')
  from (
    select key, sum(value::bigint) as sum
    from (select * from jsonb_each_text(p_one) union all select * from jsonb_each_text(p_other)) as both_of_them
    group by key
  ) s
$$;

-- Counts the deliveries that have failed since the last call, over all tenants; answers how many. One caller at a time;
-- another one leaves it to the first. A delivery's row is read some seconds after its time, when its transaction is over.
create function count_failed_deliveries() returns bigint
  language plpgsql volatile security definer
  set search_path = public, pg_temp
as $$
declare
  v_from timestamptz;
  v_until constant timestamptz := clock_timestamp() - interval '10 seconds';
  v_count bigint;
begin
  select seen_until into v_from from event_marks where name = 'deliveries.failed' for update skip locked;
  if v_from is null or v_from >= v_until then
    return 0;
  end if;

  with by_code as (
    select
      d.tenant_id,
      case when d.destination_id is null then '(ad-hoc)' else d.destination_name end as subject,
      coalesce(d.error_code, 'UNEXPECTED') as code,
      max(d.destination_id::text) as destination_id,
      count(*) as count,
      min(d.completed_at) as first_at,
      max(d.completed_at) as last_at,
      (array_agg(d.distribution_job_id order by d.completed_at desc))[1] as last_id
    from distribution_deliveries d
    where d.failed_at > v_from and d.failed_at <= v_until
    group by 1, 2, 3
  ),
  windows as materialized (
    select tenant_id, subject, max(destination_id) as destination_id, sum(count)::bigint as count,
      jsonb_object_agg(code, count) as codes, min(first_at) as first_at, max(last_at) as last_at,
      (array_agg(last_id order by last_at desc))[1] as last_id
    from by_code
    group by tenant_id, subject
  ),
  counted as (
    insert into event_windows as w (tenant_id, event_type, subject, untold, codes, first_at, last_at, details)
    select tenant_id, 'deliveries.failed', subject, count, codes, first_at, last_at,
      jsonb_build_object(
        'destination', case subject when '(ad-hoc)' then 'ad-hoc' else subject end,
        'destination_id', destination_id,
        'distribution_id', 'dist_' || last_id
      )
    from windows
    order by tenant_id, subject
    on conflict (tenant_id, event_type, subject) do update
      set untold = w.untold + excluded.untold,
          codes = add_codes(w.codes, excluded.codes),
          first_at = case when w.untold = 0 then excluded.first_at else w.first_at end,
          last_at = excluded.last_at,
          details = excluded.details
  )
  select coalesce(sum(count), 0) into v_count from windows;
  update event_marks set seen_until = v_until where name = 'deliveries.failed';
  return v_count;
end
$$;

-- Makes an event of every window whose first entry is p_gather old and whose last event is p_window old; at most p_limit.
-- Answers what it told, also for tenants without an event_url. Windows that have been silent for a day go.
create function tell_event_windows(p_gather interval, p_window interval, p_limit integer)
  returns table (
    tenant_id varchar(50), event_type varchar(40), subject varchar(100), count bigint, codes jsonb,
    since timestamptz, until timestamptz
  )
  language plpgsql volatile security definer
  set search_path = public, pg_temp
as $$
begin
  delete from event_windows w
  where w.untold = 0 and w.told_at < clock_timestamp() - greatest(interval '1 day', p_window);

  return query
  with due as (
    select w.tenant_id, w.event_type, w.subject, w.untold, w.codes, w.first_at, w.last_at, w.details
    from event_windows w
    where w.untold > 0
      and w.first_at <= clock_timestamp() - p_gather
      and coalesce(w.told_at <= clock_timestamp() - p_window, true)
    order by w.first_at
    limit p_limit
    for update skip locked
  ),
  told as (
    insert into operator_events (tenant_id, event_type, event_url, body)
    select due.tenant_id, due.event_type, t.event_url,
      (due.details || jsonb_build_object(
        'event_type', due.event_type,
        'tenant_id', due.tenant_id,
        'count', due.untold,
        'codes', due.codes,
        'since', to_char(due.first_at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
        'until', to_char(due.last_at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
        'occurred_at', to_char(clock_timestamp() at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
      ))::text
    from due
    join tenants t on t.id = due.tenant_id and t.event_url is not null
  ),
  marked as (
    update event_windows w
    set untold = 0, codes = '{}', told_at = clock_timestamp()
    from due
    where w.tenant_id = due.tenant_id and w.event_type = due.event_type and w.subject = due.subject
  )
  select due.tenant_id, due.event_type, due.subject, due.untold, due.codes, due.first_at, due.last_at from due;
end
$$;

revoke all on function count_failed_deliveries(), tell_event_windows(interval, interval, integer) from public;
grant execute on function count_failed_deliveries(), tell_event_windows(interval, interval, integer) to distributor_app;
alter function count_failed_deliveries() owner to distributor_system;
alter function tell_event_windows(interval, interval, integer) owner to distributor_system;
