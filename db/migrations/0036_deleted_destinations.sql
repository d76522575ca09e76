-- Deleted destinations for which something still waits: the sweep ends it, should the process that deleted them not have
-- come to it. What was missed for a day ends at its own next attempt. Starts from the open jobs, of which an index holds no
-- others, and only when something was deleted.
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

revoke all on function deleted_destinations_in_use(integer) from public;
grant execute on function deleted_destinations_in_use(integer) to distributor_app;
alter function deleted_destinations_in_use(integer) owner to distributor_system;
