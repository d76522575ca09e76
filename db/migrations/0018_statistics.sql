-- The specification's two materialized views, and a metric. A materialized view has no row security, so no one is
-- granted these two; tenants read them through a view that shows only their own rows. They belong to
-- distributor_system, whose policy lets a refresh read all tenants.

-- The bound on the id is not in the specification: with it a refresh reads the partitions of 30 days, not all.
create materialized view distribution_summary_mv as
select
  date_trunc('hour', dj.created_at) as hour_bucket,
  dj.tenant_id,
  dj.data_type,
  dj.status,
  count(*) as total_distributions,
  count(case when dj.status = 'completed' then 1 end) as completed_distributions,
  count(case when dj.status = 'failed' then 1 end) as failed_distributions,
  avg(extract(epoch from (dj.completed_at - dj.created_at))) as avg_completion_time_seconds,
  sum(dj.retry_count) as total_retries
from distribution_jobs dj
where dj.created_at >= current_date - interval '30 days'
  and dj.id >= id_floor(current_date - interval '30 days')
group by date_trunc('hour', dj.created_at), dj.tenant_id, dj.data_type, dj.status;

create index idx_distribution_summary_mv_hour_bucket on distribution_summary_mv (hour_bucket desc);
-- `refresh … concurrently` needs a unique index over all rows.
create unique index uk_distribution_summary_mv
  on distribution_summary_mv (hour_bucket, tenant_id, data_type, status);

-- tenant_id is not in the specification. The join needs it too, because names are unique only within a tenant. Deleted
-- destinations are left out.
create materialized view destination_health_mv as
select
  d.tenant_id,
  d.name,
  d.protocol,
  d.health_status,
  d.last_health_check,
  count(da.id) as total_attempts_last_24h,
  count(case when da.status = 'success' then 1 end) as successful_attempts_last_24h,
  count(case when da.status = 'failed' then 1 end) as failed_attempts_last_24h,
  round(
    count(case when da.status = 'success' then 1 end)::numeric / nullif(count(da.id), 0) * 100, 2
  ) as success_rate_last_24h,
  avg(extract(epoch from (da.completed_at - da.started_at))) as avg_response_time_seconds
from destinations d
left join distribution_attempts da
  on da.tenant_id = d.tenant_id
  and da.destination_name = d.name
  and da.started_at >= current_timestamp - interval '24 hours'
where d.deleted_at is null
group by d.id, d.tenant_id, d.name, d.protocol, d.health_status, d.last_health_check;

create index idx_destination_health_mv_name on destination_health_mv (name);
create index idx_destination_health_mv_health_status on destination_health_mv (health_status);
create unique index uk_destination_health_mv on destination_health_mv (tenant_id, name);

-- security_barrier: a function in the caller's query sees a row only after the comparison of the tenant.
create view distribution_summary with (security_barrier) as
select
  hour_bucket, tenant_id, data_type, status, total_distributions, completed_distributions, failed_distributions,
  avg_completion_time_seconds, total_retries
from distribution_summary_mv
where tenant_id = nullif(current_setting('app.tenant_id', true), '');

create view destination_health with (security_barrier) as
select
  tenant_id, name, protocol, health_status, last_health_check, total_attempts_last_24h, successful_attempts_last_24h,
  failed_attempts_last_24h, success_rate_last_24h, avg_response_time_seconds
from destination_health_mv
where tenant_id = nullif(current_setting('app.tenant_id', true), '');

alter materialized view distribution_summary_mv owner to distributor_system;
alter materialized view destination_health_mv owner to distributor_system;
alter view distribution_summary owner to distributor_system;
alter view destination_health owner to distributor_system;

-- Refreshes one view, so that a failure of the other does not hide it. A view that holds nothing yet, as after a
-- restore, is filled without `concurrently`, which compares with the present rows and is refused when there were never
-- any.
create function refresh_view(p_name text) returns void
  language plpgsql security definer
  set search_path = public, pg_temp
as $$
declare
  v_filled boolean;
begin
  select m.ispopulated into v_filled from pg_matviews m where m.schemaname = 'public' and m.matviewname = p_name;
  if v_filled is null then
    raise exception 'there is no materialized view %', coalesce(quote_literal(p_name), 'null')
      using errcode = 'undefined_table';
  end if;
  execute format('refresh materialized view %s %I', case when v_filled then 'concurrently' end, p_name);
end
$$;

-- Both views, once an hour; readers go on reading meanwhile.
create function refresh_views() returns void
  language plpgsql security definer
  set search_path = public, pg_temp
as $$
begin
  perform refresh_view('distribution_summary_mv');
  perform refresh_view('destination_health_mv');
end
$$;

-- The number of open deliveries by state, for the metric. The query starts from the open distributions, which have an
-- index of their own.
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
