-- A distribution without a plan has no deliveries yet: while no worker runs, all the work is there.
create or replace function queue_depths()
  returns table (queue_name text, depth bigint)
  language sql stable security definer
  set search_path = public, pg_temp
as $$
  with open_jobs as (
    select id, planned_at, deliver_at from distribution_jobs where status in ('pending', 'processing')
  )
  select q.name, count(d.distribution_job_id)
  from unnest(array['pending', 'processing', 'waiting']) as q (name)
  left join (
    select d.distribution_job_id, d.status
    from open_jobs j
    join distribution_deliveries d on d.distribution_job_id = j.id
  ) d on d.status = q.name
  group by q.name
  union all
  select 'unplanned', count(*)
  from open_jobs
  where planned_at is null and coalesce(deliver_at <= clock_timestamp(), true)
$$;
