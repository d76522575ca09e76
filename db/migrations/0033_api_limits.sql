-- Changed: more requests at once than the burst never fit, so that who asks for several together gets no more than who asks
-- for each; a limit of 0 lets nothing through.
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
    v_room := v_interval * v_burst;
    if p_requests <= v_burst then
      insert into api_rate_limits as l (tenant_id, scope, arrival)
      values (p_tenant, v_limits[i], clock_timestamp() + v_interval * p_requests)
      on conflict (tenant_id, scope) do update
        set arrival = greatest(l.arrival, clock_timestamp()) + v_interval * p_requests
        where greatest(l.arrival, clock_timestamp()) + v_interval * p_requests <= clock_timestamp() + v_room;
    end if;
    if p_requests > v_burst or not found then
      select l.arrival + v_interval * p_requests - v_room - clock_timestamp() into v_wait
      from api_rate_limits l where l.tenant_id = p_tenant and l.scope = v_limits[i];
      -- The tenant has no room for what its key had: given back.
      if v_taken is not null then
        update api_rate_limits l set arrival = l.arrival - v_taken
        where l.tenant_id = p_tenant and l.scope = v_limits[1];
      end if;
      return greatest(1, ceil(coalesce(extract(epoch from v_wait), 0) * 1000));
    end if;
    v_taken := v_interval * p_requests;
  end loop;
  return 0;
end
$$;
