-- The seed's two materialized views. They belong to distributor_system, whose policy lets a refresh see all tenants,
-- are granted to no one, and are read through a view that shows a tenant its own rows.

-- Changed from the seed: the bound on id, so that a refresh reads the partitions of 30 days and not all.
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
-- `refresh … concurrently` asks for a unique index over all rows, which the seed lacks.
create unique index uk_distribution_summary_mv
  on distribution_summary_mv (hour_bucket, tenant_id, data_type, status);

-- Changed from the seed: tenant_id, also in the join, for names are unique only within a tenant; deleted destinations
-- go.
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

-- security_barrier: a function in a caller's query must not see a row before the tenant was compared.
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
