-- What must look across tenants, one named function each; they run as distributor_system (owner and grants in 0020).

-- Who holds this key? Revoked and expired keys are unknown.
create function find_api_key(p_sha256 bytea)
  returns table (id uuid, tenant_id varchar(50), role varchar(20), tenant_status varchar(20))
  language sql stable security definer
  set search_path = public, pg_temp
as $$
  select k.id, k.tenant_id, k.role, t.status
  from api_keys k
  join tenants t on t.id = k.tenant_id
  where k.key_sha256 = p_sha256
    and k.revoked_at is null
    and (k.expires_at is null or k.expires_at > now())
$$;

-- All tenants, for the role platform; without what is sealed in them.
create function list_tenants()
  returns table (
    id varchar(50), name varchar(100), description text, status varchar(20), config jsonb,
    require_known_data_type boolean, created_at timestamptz, updated_at timestamptz
  )
  language sql stable security definer
  set search_path = public, pg_temp
as $$
  select t.id, t.name, t.description, t.status, t.config, t.require_known_data_type, t.created_at, t.updated_at
  from tenants t
$$;

-- Open jobs that the sweep should look at: those whose check_at has come, oldest first, or with p_all every open one
-- after p_after, by id. The latter goes by created_at, in which an index on open rows is sorted; the id's order is
-- the same.
create function due_jobs(p_limit integer, p_all boolean default false, p_after uuid default null)
  returns table (
    tenant_id varchar(50), distribution_id varchar(100), id uuid, data_type varchar(50), priority varchar(10),
    status varchar(20), cancel_requested boolean, round integer, sweep_starts integer
  )
  language plpgsql stable security definer
  set search_path = public, pg_temp
as $$
begin
  if p_all then
    return query
      select j.tenant_id, j.distribution_id, j.id, j.data_type, j.priority, j.status, j.cancel_requested_at is not null,
        j.round, j.sweep_starts
      from distribution_jobs j
      where j.status in ('pending', 'processing')
        and (p_after is null or (j.id > p_after and j.created_at >= id_time(p_after)))
      order by j.created_at, j.id
      limit p_limit;
  else
    return query
      select j.tenant_id, j.distribution_id, j.id, j.data_type, j.priority, j.status, j.cancel_requested_at is not null,
        j.round, j.sweep_starts
      from distribution_jobs j
      where j.status in ('pending', 'processing')
        and j.check_at <= clock_timestamp()
      order by j.check_at
      limit p_limit;
  end if;
end
$$;

-- Callbacks that the sweep should look at, oldest first.
create function due_callbacks(p_limit integer)
  returns table (tenant_id varchar(50), distribution_id varchar(100), round integer)
  language sql stable security definer
  set search_path = public, pg_temp
as $$
  select c.tenant_id, ('dist_' || c.distribution_job_id::text)::varchar(100), c.round
  from distribution_callbacks c
  where c.status = 'pending'
    and c.check_at <= clock_timestamp()
  order by c.check_at
  limit p_limit
$$;

-- Open deliveries by state, for the metric. Starts from the open jobs, of which an index holds no others.
create function queue_depths()
  returns table (queue_name text, depth bigint)
  language sql stable security definer
  set search_path = public, pg_temp
as $$
  select q.name, count(d.distribution_job_id)
  from unnest(array['pending', 'processing', 'waiting']) as q (name)
  left join (
    select d.distribution_job_id, d.status
    from distribution_jobs j
    join distribution_deliveries d on d.distribution_job_id = j.id
    where j.status in ('pending', 'processing')
  ) d on d.status = q.name
  group by q.name
$$;

-- Which sealing keys are still needed: start-up refuses when one is not configured.
create function sealed_key_ids()
  returns table (key_id text)
  language sql stable security definer
  set search_path = public, pg_temp
as $$
  select split_part(sealed, '.', 2) from credentials
  union
  select split_part(callback_secret, '.', 2) from tenants where callback_secret is not null
$$;

-- The seed's hourly refresh. Readers go on reading meanwhile.
create function refresh_views() returns void
  language plpgsql security definer
  set search_path = public, pg_temp
as $$
begin
  refresh materialized view concurrently distribution_summary_mv;
  refresh materialized view concurrently destination_health_mv;
end
$$;

-- For drop_month: the owner of the tables is bound by row security and would count nothing.
create function count_open_jobs(p_from uuid, p_below uuid) returns bigint
  language sql stable security definer
  set search_path = public, pg_temp
as $$
  select count(*) from distribution_jobs
  where id >= p_from and id < p_below and status in ('pending', 'processing')
$$;

create function forget_idempotency_keys(p_from uuid, p_below uuid) returns void
  language sql volatile security definer
  set search_path = public, pg_temp
as $$
  delete from idempotency_keys where job_id >= p_from and job_id < p_below
$$;

-- Removes a month with all it holds; false when there is no such month. Refuses a month that is not over or in which a
-- distribution is still open. Inserts go on: the locks are brief (lock_months), and what takes time comes before them.
-- Children first, and detached before they are dropped: a partition that a foreign key refers to cannot be dropped.
-- Detaching asks whether any attempt still refers to the month; without hash joins it reads the month's index once and
-- stops, instead of reading all attempts there are.
create function drop_month(p_month date) returns boolean
  language plpgsql security definer
  set search_path = public, pg_temp
  set enable_hashjoin = off
  set enable_nestloop = off
  set enable_seqscan = off
as $$
declare
  v_from constant uuid := month_floor(p_month);
  v_below constant uuid := month_floor((date_trunc('month', p_month) + interval '1 month')::date);
  v_tables text[] := partitioned_tables();
  v_open bigint;
begin
  if date_trunc('month', p_month)::date >= this_month() then
    raise exception 'Month % is not over', to_char(p_month, 'YYYY-MM') using errcode = 'object_in_use';
  end if;
  if to_regclass(month_partition('distribution_jobs', p_month)) is null then
    return false;
  end if;

  perform forget_idempotency_keys(v_from, v_below);
  perform lock_months(p_month);
  -- Under the locks, for a retry may have opened one again.
  v_open := count_open_jobs(v_from, v_below);
  if v_open > 0 then
    raise exception 'Month % holds % open distributions', to_char(p_month, 'YYYY-MM'), v_open
      using errcode = 'object_in_use';
  end if;

  for i in reverse array_length(v_tables, 1)..1 loop
    execute format('alter table %I detach partition %I', v_tables[i], month_partition(v_tables[i], p_month));
    execute format('drop table %I', month_partition(v_tables[i], p_month));
  end loop;
  return true;
end
$$;
