-- A limit that was raised applies at once.
--
-- What was taken under the old limit may reach hours ahead: nobody could go on before that time had come, whatever the new
-- limit said. Under the present limit nobody can be further ahead than its whole room.

-- Deliveries: those that were denied have been told to come back one after another, as far apart as the limit was then
-- (in milliseconds). Under another one nobody stands behind them.
alter table rate_limits add column distance_ms double precision;

-- Requests to the API: as before, but for the above.
create or replace function take_api_requests(p_tenant varchar(50), p_key text, p_requests integer)
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
      -- The tenant has no room for what its key had: given back.
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
