-- The searches of the sweep over all tenants: rows that need a workflow and may have lost it.

-- Open distributions whose check_at is due, oldest first. With p_all every open one after p_after, by id, except those
-- that wait for their batch and have no workflow yet. The latter query is ordered by created_at, because the index on
-- open rows is; the order of the ids is the same.
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
        and j.check_at is distinct from 'infinity'
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

-- Webhooks whose check_at is due, oldest first.
create function due_webhooks(p_limit integer)
  returns table (tenant_id varchar(50), kind varchar(20), subject_id uuid, round integer)
  language sql stable security definer
  set search_path = public, pg_temp
as $$
  select w.tenant_id, w.kind, w.subject_id, w.round
  from webhooks w
  where w.status = 'pending' and w.check_at <= clock_timestamp()
  order by w.check_at
  limit p_limit
$$;

-- Batches with work left whose check_at is due, or with p_all every one; after p_after, by id.
create function due_batches(p_limit integer, p_all boolean default false, p_after uuid default null)
  returns table (tenant_id varchar(50), id uuid)
  language sql stable security definer
  set search_path = public, pg_temp
as $$
  select b.tenant_id, b.id
  from batches b
  where b.check_at is not null
    and (p_all or b.check_at <= clock_timestamp())
    and (p_after is null or b.id > p_after)
  order by b.id
  limit p_limit
$$;

-- Schedules that Temporal must be updated from: those whose check_at is due, with p_all also every one that is not
-- deleted; after p_after, by id.
create function due_schedules(p_limit integer, p_all boolean default false, p_after uuid default null)
  returns table (tenant_id varchar(50), id uuid)
  language sql stable security definer
  set search_path = public, pg_temp
as $$
  select r.tenant_id, r.id
  from distribution_schedules r
  where (r.check_at <= clock_timestamp() or (p_all and (r.deleted_at is null or r.check_at is not null)))
    and (p_after is null or r.id > p_after)
  order by r.id
  limit p_limit
$$;

-- Held deliveries of all tenants with no other delivery ahead of them: the signal that released them was lost. The first
-- of each key and destination, after (p_tenant_id, p_key, p_destination), in that order. It steps from key to key by the
-- index, so the number of held deliveries does not matter. A delivery that was checked in the last two seconds is left
-- out, because its signal may be on the way.
create function due_turns(
  p_limit integer, p_tenant_id varchar default null, p_key varchar default null, p_destination varchar default null
)
  returns table (
    tenant_id varchar(50), ordering_key varchar(255), destination_name varchar(100), distribution_job_id uuid
  )
  language sql stable security definer
  set search_path = public, pg_temp
as $$
  with recursive heads as (
    (select d.tenant_id, d.ordering_key, d.destination_name, d.ordering_seq, d.distribution_job_id, d.updated_at
       from distribution_deliveries d
      where d.ordering_state = 'held'
        and (p_tenant_id is null
             or (d.tenant_id, d.ordering_key, d.destination_name) > (p_tenant_id, p_key, p_destination))
      order by d.tenant_id, d.ordering_key, d.destination_name, d.ordering_seq
      limit 1)
    union all
    select n.*
      from heads h
     cross join lateral (
       select d.tenant_id, d.ordering_key, d.destination_name, d.ordering_seq, d.distribution_job_id, d.updated_at
         from distribution_deliveries d
        where d.ordering_state = 'held'
          and (d.tenant_id, d.ordering_key, d.destination_name) > (h.tenant_id, h.ordering_key, h.destination_name)
        order by d.tenant_id, d.ordering_key, d.destination_name, d.ordering_seq
        limit 1) n
  )
  select h.tenant_id, h.ordering_key, h.destination_name, h.distribution_job_id
    from heads h
   where h.updated_at < clock_timestamp() - interval '2 seconds'
     -- Three index lookups. A join might read the whole table.
     and (select true from distribution_deliveries d
           where d.tenant_id = h.tenant_id and d.ordering_key = h.ordering_key
             and d.destination_name = h.destination_name
             and d.ordering_state is not null and d.ordering_seq < h.ordering_seq
           limit 1) is null
     and (select true from distribution_deliveries d
           where d.tenant_id = h.tenant_id and d.ordering_key = h.ordering_key
             and d.destination_name = h.destination_name
             and d.ordering_state = 'sending' and d.ordering_seq > h.ordering_seq
           limit 1) is null
     and (select true from distribution_jobs j
           where j.tenant_id = h.tenant_id and j.ordering_key = h.ordering_key and j.planned_at is null
             and j.status in ('pending', 'processing') and j.ordering_seq < h.ordering_seq
           limit 1) is null
   order by h.tenant_id, h.ordering_key, h.destination_name
   limit p_limit
$$;

-- Deleted destinations with deliveries that still wait. The sweep ends those, in case the process that deleted the
-- destination did not. After a day a delivery ends at its own next attempt. The search starts from the open
-- distributions, which have an index of their own, and only when a destination was deleted.
create function deleted_destinations_in_use(p_limit integer)
  returns table (tenant_id varchar(50), destination_id uuid)
  language sql stable security definer
  set search_path = public, pg_temp
as $$
  select r.tenant_id, r.id
  from destinations r
  where r.deleted_at > clock_timestamp() - interval '1 day'
    and exists (
      select from distribution_jobs j
      join distribution_deliveries d on d.distribution_job_id = j.id and d.destination_name = r.name
      where j.status in ('pending', 'processing') and d.tenant_id = r.tenant_id and d.destination_id = r.id
        and d.status in ('pending', 'waiting')
    )
  order by r.deleted_at
  limit p_limit
$$;

-- Targets that deliveries wait for although a workflow could resume them: the target may have recovered
-- (`recovers`), or its limits have changed since (`changed_at`).
create function waiting_targets(p_limit integer)
  returns table (tenant_id varchar(50), target text, recovers boolean, changed_at timestamptz)
  language sql stable security definer
  set search_path = public, pg_temp
as $$
  select d.tenant_id, d.deferred_target, bool_or(d.deferred_by in ('circuit', 'disabled')),
         max(greatest(t.updated_at, r.updated_at))
           filter (where d.deferred_by in ('rate_limit', 'concurrency') and greatest(t.updated_at, r.updated_at) > d.updated_at)
  from distribution_deliveries d
  join tenants t on t.id = d.tenant_id
  left join destinations r
    on r.id = case when d.deferred_target ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then d.deferred_target::uuid end
  where d.deferred_target is not null and d.next_attempt_at > clock_timestamp() + interval '2 seconds'
  group by d.tenant_id, d.deferred_target
  limit p_limit
$$;

-- For the full pass, when Temporal may have lost its workflows: rows that waited for a workflow become due at their own
-- time, not only at the next check of the sweep.
create function bring_forward() returns void
  language sql volatile security definer
  set search_path = public, pg_temp
as $$
  update webhooks
     set check_at = coalesce(next_attempt_at, clock_timestamp())
   where status = 'pending' and check_at > coalesce(next_attempt_at, clock_timestamp());
$$;
