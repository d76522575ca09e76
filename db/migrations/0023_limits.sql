-- Circuit breakers, rate limits, concurrency, auto-disable, operator events, limits of the API.

-- What a tenant says of a destination, and the operator of a tenant. Null: the default, or no limit.
alter table destinations
  add column circuit_breaker jsonb,
  add column auto_disable jsonb,
  add column rate_limit jsonb,
  add column max_concurrency integer,
  add constraint chk_destinations_max_concurrency check (max_concurrency between 1 and 1000);
alter table tenants
  -- Of all deliveries of the tenant together.
  add column delivery_rate_limit jsonb,
  -- Is told what an operator should know, such as a destination that was disabled.
  add column event_url text;
-- A key's own limit inside its tenant's, over the same window.
alter table api_keys add column rate_limit_requests integer;

-- What breakers and limits of an inline destination go by: protocol, host and port. A registered one goes by its id.
alter table distribution_deliveries add column target varchar(400);

-- One row per target that is in trouble; none for a healthy one, so that its deliveries find nothing and write nothing.
create table destination_circuits (
  tenant_id varchar(50) not null,
  target varchar(400) not null,
  -- Consecutive failures that say the destination can not be reached; the circuit opens by them.
  failures integer not null default 0,
  -- Consecutive failures of the destination's own making, these and others; auto-disable goes by them.
  failures_in_a_row integer not null default 0,
  failing_since timestamptz not null default clock_timestamp(),
  -- Null while the circuit is closed.
  opened_at timestamptz,
  -- From then on one delivery may try.
  open_until timestamptz,
  -- How often it was opened in a row without a success.
  openings integer not null default 0,
  -- The delivery that tries, and until when nobody else may: a lease, for its worker may be killed.
  probe text,
  probe_until timestamptz,
  -- The attempt that opened it last.
  opened_by uuid,
  updated_at timestamptz not null default clock_timestamp(),
  constraint destination_circuits_pkey primary key (tenant_id, target)
) with (fillfactor = 50);

-- GCRA: `arrival` is the theoretical arrival time, `booked` the time up to which denied callers were told to come back.
create table rate_limits (
  tenant_id varchar(50) not null,
  scope varchar(420) not null,
  arrival timestamptz not null default '-infinity',
  booked timestamptz not null default '-infinity',
  constraint rate_limits_pkey primary key (tenant_id, scope)
) with (fillfactor = 50);

-- The same for requests to the API: unlogged, for one is taken with every request, and after a crash of the database
-- everybody may begin anew.
create unlogged table api_rate_limits (
  tenant_id varchar(50) not null,
  scope varchar(60) not null,
  arrival timestamptz not null,
  constraint api_rate_limits_pkey primary key (tenant_id, scope)
) with (fillfactor = 50);

-- max_concurrency numbered places per target, each held by one delivery until it gives it back or the time is over.
create table destination_slots (
  tenant_id varchar(50) not null,
  target varchar(400) not null,
  slot integer not null,
  holder text,
  held_until timestamptz not null default '-infinity',
  constraint destination_slots_pkey primary key (tenant_id, target, slot)
) with (fillfactor = 50);

-- What is told to a tenant's event_url.
create table operator_events (
  id uuid not null default new_uuidv7(),
  tenant_id varchar(50) not null,
  event_type varchar(40) not null,
  event_url text not null,
  body text not null,
  status varchar(20) not null default 'pending',
  attempts integer not null default 0,
  next_attempt_at timestamptz,
  response_status integer,
  error_code varchar(40),
  error_message text,
  created_at timestamptz not null default clock_timestamp(),
  completed_at timestamptz,
  -- When the sweep should look whether a run serves this row.
  check_at timestamptz default clock_timestamp(),
  constraint operator_events_pkey primary key (id),
  constraint chk_operator_events_status check (status in ('pending', 'success', 'failed'))
);
-- The sweep.
create index idx_operator_events_check_at on operator_events (check_at) where status = 'pending';

do $$
declare
  v_table text;
  v_tenant constant text := 'nullif(current_setting(''app.tenant_id'', true), '''')';
begin
  foreach v_table in array array[
    'destination_circuits', 'rate_limits', 'api_rate_limits', 'destination_slots', 'operator_events'
  ] loop
    execute format('alter table %I enable row level security', v_table);
    execute format('alter table %I force row level security', v_table);
    execute format(
      'create policy %I on %I for all using (tenant_id = %s) with check (tenant_id = %s)',
      v_table || '_tenant_policy', v_table, v_tenant, v_tenant
    );
    execute format(
      'create policy %I on %I for all to distributor_system using (true) with check (true)',
      v_table || '_system_policy', v_table
    );
  end loop;
end
$$;

grant select, insert, update, delete on destination_circuits, rate_limits, api_rate_limits, destination_slots
  to distributor_app;
grant select, insert, update on operator_events to distributor_app;

-- One request of a tenant's key, or p_requests of them at once: 0 when they may go, else how many milliseconds to wait;
-- null when neither tenant nor key has a limit. Only what may go is counted. Up to burst_limit at once, then evenly
-- spread, so that no window of rate_limit_window_seconds sees more than rate_limit_requests + burst_limit.
create function take_api_requests(p_tenant varchar(50), p_key text, p_requests integer)
  returns double precision
  language plpgsql volatile security definer
  set search_path = public, pg_temp
as $$
declare
  v_limits constant text[] := array['key/' || p_key, 'tenant'];
  v_requests integer[];
  v_window interval;
  v_burst integer;
  v_interval interval;
  v_room interval;
  v_taken interval;
  v_wait interval;
begin
  select array[k.rate_limit_requests, t.rate_limit_requests],
    coalesce(nullif(t.rate_limit_window_seconds, 0), 60) * interval '1 second', greatest(coalesce(t.burst_limit, 1), 1)
  into v_requests, v_window, v_burst
  from tenants t
  left join api_keys k on k.tenant_id = t.id and k.id::text = p_key
  where t.id = p_tenant;
  if v_requests[1] is null and v_requests[2] is null then
    return null;
  end if;

  for i in 1..2 loop
    continue when v_requests[i] is null;
    if v_requests[i] <= 0 then
      return extract(epoch from v_window) * 1000;
    end if;
    v_interval := v_window / v_requests[i];
    v_room := v_interval * greatest(v_burst, p_requests);
    insert into api_rate_limits as l (tenant_id, scope, arrival)
    values (p_tenant, v_limits[i], clock_timestamp() + v_interval * p_requests)
    on conflict (tenant_id, scope) do update
      set arrival = greatest(l.arrival, clock_timestamp()) + v_interval * p_requests
      where greatest(l.arrival, clock_timestamp()) + v_interval * p_requests <= clock_timestamp() + v_room;
    if not found then
      select l.arrival + v_interval * p_requests - v_room - clock_timestamp() into v_wait
      from api_rate_limits l where l.tenant_id = p_tenant and l.scope = v_limits[i];
      -- The tenant has no room for what its key had: given back.
      if v_taken is not null then
        update api_rate_limits l set arrival = l.arrival - v_taken
        where l.tenant_id = p_tenant and l.scope = v_limits[1];
      end if;
      return greatest(1, ceil(extract(epoch from v_wait) * 1000));
    end if;
    v_taken := v_interval * p_requests;
  end loop;
  return 0;
end
$$;

-- Events that the sweep should look at, oldest first.
create function due_events(p_limit integer)
  returns table (tenant_id varchar(50), event_id uuid)
  language sql stable security definer
  set search_path = public, pg_temp
as $$
  select e.tenant_id, e.id from operator_events e
  where e.status = 'pending' and e.check_at <= clock_timestamp()
  order by e.check_at
  limit p_limit
$$;

-- Which destinations are to be tried again and again, and how often.
create function health_check_schedules()
  returns table (tenant_id varchar(50), destination_id uuid, interval_seconds integer)
  language sql stable security definer
  set search_path = public, pg_temp
as $$
  select d.tenant_id, d.id, (d.health_check_config ->> 'interval_seconds')::integer
  from destinations d
  join tenants t on t.id = d.tenant_id and t.status = 'active'
  where d.deleted_at is null and d.health_check_config @> '{"enabled": true}'
$$;

-- For the metric.
create function open_circuits() returns bigint
  language sql stable security definer
  set search_path = public, pg_temp
as $$
  select count(*) from destination_circuits where opened_at is not null
$$;

-- What nobody asks for any more: targets that were not heard of for a week, limits that are long over, old health checks.
create function forget_limits() returns void
  language sql volatile security definer
  set search_path = public, pg_temp
as $$
  delete from destination_circuits where updated_at < clock_timestamp() - interval '7 days';
  delete from rate_limits where greatest(arrival, booked) < clock_timestamp() - interval '1 day';
  delete from api_rate_limits where arrival < clock_timestamp() - interval '1 day';
  delete from destination_slots where held_until < clock_timestamp() - interval '1 day';
  delete from destination_health_checks where checked_at < clock_timestamp() - interval '30 days';
$$;

-- Shows the limits too. A function's columns can not be changed, so it is made anew.
drop function list_tenants();
create function list_tenants()
  returns table (
    id varchar(50), name varchar(100), description text, status varchar(20), config jsonb,
    require_known_data_type boolean, rate_limit_requests integer, rate_limit_window_seconds integer,
    burst_limit integer, delivery_rate_limit jsonb, event_url text, created_at timestamptz, updated_at timestamptz
  )
  language sql stable security definer
  set search_path = public, pg_temp
as $$
  select t.id, t.name, t.description, t.status, t.config, t.require_known_data_type, t.rate_limit_requests,
    t.rate_limit_window_seconds, t.burst_limit, t.delivery_rate_limit, t.event_url, t.created_at, t.updated_at
  from tenants t
$$;

grant select, delete on destination_circuits, rate_limits, destination_slots, destination_health_checks
  to distributor_system;
grant select, insert, update, delete on api_rate_limits to distributor_system;
grant select on operator_events to distributor_system;

revoke all on function
  take_api_requests(varchar, text, integer), due_events(integer), health_check_schedules(), open_circuits(),
  forget_limits(), list_tenants()
  from public;
grant execute on function
  take_api_requests(varchar, text, integer), due_events(integer), health_check_schedules(), open_circuits(),
  forget_limits(), list_tenants()
  to distributor_app;
alter function take_api_requests(varchar, text, integer) owner to distributor_system;
alter function due_events(integer) owner to distributor_system;
alter function health_check_schedules() owner to distributor_system;
alter function open_circuits() owner to distributor_system;
alter function forget_limits() owner to distributor_system;
alter function list_tenants() owner to distributor_system;
