-- Circuits, rate limits and concurrency limits of destinations, and rate limits of the API.

-- One row per failing target. A healthy target has no row, so its deliveries write nothing here.
create table destination_circuits (
  tenant_id varchar(50) not null,
  target varchar(400) not null,
  -- Consecutive failures that mean the destination cannot be reached. They open the circuit.
  failures integer not null default 0,
  -- Consecutive failures of any kind that are the destination's fault. They disable it (auto_disable).
  failures_in_a_row integer not null default 0,
  failing_since timestamptz not null default clock_timestamp(),
  -- Null while the circuit is closed.
  opened_at timestamptz,
  -- After this time one delivery may probe.
  open_until timestamptz,
  -- How often it was opened without a success in between.
  openings integer not null default 0,
  -- The delivery that probes the destination, and the end of its lease; its worker may be killed.
  probe text,
  probe_until timestamptz,
  -- The attempt that opened it last.
  opened_by uuid,
  updated_at timestamptz not null default clock_timestamp(),
  constraint destination_circuits_pkey primary key (tenant_id, target)
) with (fillfactor = 50);

-- GCRA: `arrival` is the theoretical arrival time.
create table rate_limits (
  tenant_id varchar(50) not null,
  scope varchar(420) not null,
  arrival timestamptz not null default '-infinity',
  -- Rejected callers get reservations one after another; the last one is here.
  booked timestamptz not null default '-infinity',
  -- How far apart the reservations are. When the limit has changed, they are void.
  distance_ms double precision,
  constraint rate_limits_pkey primary key (tenant_id, scope)
) with (fillfactor = 50);

-- The same for requests to the API. Unlogged, because every request writes it, and after a crash of the database the
-- counts may start from 0.
create unlogged table api_rate_limits (
  tenant_id varchar(50) not null,
  scope varchar(60) not null,
  arrival timestamptz not null,
  constraint api_rate_limits_pkey primary key (tenant_id, scope)
) with (fillfactor = 50);

-- max_concurrency numbered slots per target, each held by one delivery until it releases the slot or its lease ends.
create table destination_slots (
  tenant_id varchar(50) not null,
  target varchar(400) not null,
  slot integer not null,
  holder text,
  held_until timestamptz not null default '-infinity',
  constraint destination_slots_pkey primary key (tenant_id, target, slot)
) with (fillfactor = 50);

-- Takes p_requests requests from the limits of a tenant and of its key. Returns 0 when they may go, otherwise the
-- milliseconds to wait; null when neither has a limit. Rejected requests are not counted. Up to burst_limit requests are
-- allowed at once, the others evenly spread, so no window of rate_limit_window_seconds has more than
-- rate_limit_requests + burst_limit. A call for more than burst_limit requests is always rejected, so a caller gets no
-- more by asking for several together. A limit of 0 allows nothing. A changed limit applies at once: requests under the
-- old limit count for at most the whole burst of the new one.
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
  v_asked interval;
  v_room interval;
  v_taken interval;
  v_now timestamptz;
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
    v_asked := v_window / v_requests[i] * p_requests;
    v_room := v_window / v_requests[i] * v_burst;
    v_now := clock_timestamp();
    if p_requests <= v_burst then
      insert into api_rate_limits as l (tenant_id, scope, arrival) values (p_tenant, v_limits[i], v_now + v_asked)
      on conflict (tenant_id, scope) do update
        set arrival = greatest(l.arrival, v_now) + v_asked
        where l.arrival <= v_now + v_room - v_asked;
    end if;
    if p_requests > v_burst or not found then
      update api_rate_limits l set arrival = v_now + v_room
      where l.tenant_id = p_tenant and l.scope = v_limits[i] and l.arrival > v_now + v_room;
      select l.arrival + v_asked - v_room - v_now into v_wait
      from api_rate_limits l where l.tenant_id = p_tenant and l.scope = v_limits[i];
      -- The key's limit allows it but the tenant's does not: the key's part is returned.
      if v_taken is not null then
        update api_rate_limits l set arrival = l.arrival - v_taken
        where l.tenant_id = p_tenant and l.scope = v_limits[1];
      end if;
      return greatest(1, ceil(coalesce(extract(epoch from v_wait), 0) * 1000));
    end if;
    v_taken := v_asked;
  end loop;
  return 0;
end
$$;

-- The number of open circuits, for the metric.
create function open_circuits() returns bigint
  language sql stable security definer
  set search_path = public, pg_temp
as $$
  select count(*) from destination_circuits where opened_at is not null
$$;

-- Deletes unused rows. Health checks and events are found by id: the primary key has the time, so their
-- tables are not read as a whole. (A check every ten seconds makes 8,640 rows a day for each destination.)
create function forget_limits() returns void
  language sql volatile security definer
  set search_path = public, pg_temp
as $$
  delete from destination_circuits where updated_at < clock_timestamp() - interval '7 days';
  delete from rate_limits where greatest(arrival, booked) < clock_timestamp() - interval '1 day';
  delete from api_rate_limits where arrival < clock_timestamp() - interval '1 day';
  delete from destination_slots where held_until < clock_timestamp() - interval '1 day';
  delete from destination_health_checks where id < id_floor(now() - interval '30 days');
  delete from webhooks
  where kind = 'event' and subject_id < id_floor(now() - interval '90 days') and status <> 'pending';
$$;
