-- Messages to a tenant's own URLs: the callbacks of distributions and batches, and operator events. Each row is one
-- message to one URL. Partitioned by month, like the distributions and batches.
create table webhooks (
  tenant_id varchar(50) not null,
  -- The distribution, the batch or the event itself. All are ids that begin with their time.
  subject_id uuid not null,
  kind varchar(20) not null,
  -- A distribution ends once in each round; the others have one round.
  round integer not null default 1,
  event_type varchar(40) not null,
  url text not null,
  -- The body. Every attempt sends the same bytes, even if the distribution is retried meanwhile.
  body text not null,
  status varchar(20) not null default 'pending',
  attempts integer not null default 0,
  next_attempt_at timestamptz,
  response_status integer,
  error_code varchar(40),
  error_message text,
  created_at timestamptz not null default clock_timestamp(),
  completed_at timestamptz,
  -- When the sweep checks that a workflow runs for this row.
  check_at timestamptz default clock_timestamp(),
  -- No attempt begins after this time.
  expires_at timestamptz not null default clock_timestamp() + interval '1 day',
  -- Also the order of a tenant's list.
  constraint webhooks_pkey primary key (tenant_id, subject_id, kind, round),
  constraint chk_webhooks_kind check (kind in ('distribution', 'batch', 'event')),
  constraint chk_webhooks_status check (status in ('pending', 'success', 'failed'))
) partition by range (subject_id);

-- The sweep.
create index idx_webhooks_check_at on webhooks (check_at) where status = 'pending';
-- forget_limits: old events.
create index idx_webhooks_events on webhooks (subject_id) where kind = 'event';

-- The specification names this table without columns.
create view distribution_callbacks with (security_invoker = true) as
  select subject_id as distribution_job_id, round, tenant_id, event_type, url as callback_url, body, status, attempts,
    next_attempt_at, response_status, error_code, error_message, created_at, completed_at
  from webhooks
  where kind = 'distribution';

-- Counts for operator events that may happen a thousand times: one event per window then has the count. Counted are
-- deliveries that failed permanently or expired, by destination, and distributions that could not be carried out.
create table event_windows (
  tenant_id varchar(50) not null,
  event_type varchar(40) not null,
  -- The name of a destination, '(ad-hoc)' for all inline ones together, or an error code.
  subject varchar(100) not null,
  -- Since the last event: how many, how many by error code, the first time and the last time.
  pending_count bigint not null default 0,
  codes jsonb not null default '{}',
  first_at timestamptz not null,
  last_at timestamptz not null,
  -- The last one, as an example.
  details jsonb not null default '{}',
  -- When the last event was made.
  notified_at timestamptz,
  constraint event_windows_pkey primary key (tenant_id, event_type, subject)
);

-- The time up to which failed deliveries have been counted.
create table event_marks (
  name varchar(40) not null,
  seen_until timestamptz not null,
  constraint event_marks_pkey primary key (name)
);

insert into event_marks (name, seen_until) values ('deliveries.failed', clock_timestamp());

-- Adds two objects of counts, code by code.
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

-- Counts the deliveries that have failed since the last call, over all tenants, and returns their number. Only one
-- caller at a time; a second one returns 0 at once. It stays ten seconds behind the clock, because a delivery becomes
-- visible only when its transaction commits, after the time in its row.
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
    insert into event_windows as w (tenant_id, event_type, subject, pending_count, codes, first_at, last_at, details)
    select tenant_id, 'deliveries.failed', subject, count, codes, first_at, last_at,
      jsonb_build_object(
        'destination', case subject when '(ad-hoc)' then 'ad-hoc' else subject end,
        'destination_id', destination_id,
        'distribution_id', 'dist_' || last_id
      )
    from windows
    order by tenant_id, subject
    on conflict (tenant_id, event_type, subject) do update
      set pending_count = w.pending_count + excluded.pending_count,
          codes = add_codes(w.codes, excluded.codes),
          first_at = case when w.pending_count = 0 then excluded.first_at else w.first_at end,
          last_at = excluded.last_at,
          details = excluded.details
  )
  select coalesce(sum(count), 0) into v_count from windows;
  update event_marks set seen_until = v_until where name = 'deliveries.failed';
  return v_count;
end
$$;

-- Makes an operator event of each window whose first entry is older than p_gather and whose last event is older than
-- p_window, at most p_limit of them. Returns what it closed, also for tenants without an event_url. Deletes windows
-- that have been empty for a day.
create function notify_event_windows(p_gather interval, p_window interval, p_limit integer)
  returns table (
    tenant_id varchar(50), event_type varchar(40), subject varchar(100), count bigint, codes jsonb,
    since timestamptz, until timestamptz
  )
  language plpgsql volatile security definer
  set search_path = public, pg_temp
as $$
begin
  delete from event_windows w
  where w.pending_count = 0 and w.notified_at < clock_timestamp() - greatest(interval '1 day', p_window);

  return query
  with due as (
    select w.tenant_id, w.event_type, w.subject, w.pending_count, w.codes, w.first_at, w.last_at, w.details
    from event_windows w
    where w.pending_count > 0
      and w.first_at <= clock_timestamp() - p_gather
      and coalesce(w.notified_at <= clock_timestamp() - p_window, true)
    order by w.first_at
    limit p_limit
    for update skip locked
  ),
  notified as (
    insert into webhooks (tenant_id, kind, subject_id, event_type, url, body)
    select due.tenant_id, 'event', new_uuidv7(), due.event_type, t.event_url,
      (due.details || jsonb_build_object(
        'event_type', due.event_type,
        'tenant_id', due.tenant_id,
        'count', due.pending_count,
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
    set pending_count = 0, codes = '{}', notified_at = clock_timestamp()
    from due
    where w.tenant_id = due.tenant_id and w.event_type = due.event_type and w.subject = due.subject
  )
  select due.tenant_id, due.event_type, due.subject, due.pending_count, due.codes, due.first_at, due.last_at from due;
end
$$;
