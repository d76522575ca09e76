-- `metrics.success_rate` of a callback is a fraction from 0 to 1, as in the answer of the API.
create or replace function callback_body(p_id uuid, p_event_type text) returns text
  language sql stable
  set search_path = public, pg_temp
as $$
  with times as (
    select 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"' as form
  ),
  deliveries as (
    select d.* from distribution_deliveries d where d.distribution_job_id = p_id
  )
  select json_build_object(
    'event_type', p_event_type,
    'distribution_id', j.distribution_id,
    'tenant_id', j.tenant_id,
    'status', j.status,
    'completed_at', to_char(j.completed_at at time zone 'utc', form),
    'destinations', coalesce((
      select json_agg(json_build_object(
        'name', d.destination_name, 'protocol', d.protocol, 'status', d.status, 'attempts', d.attempts,
        'started_at', to_char(d.started_at at time zone 'utc', form),
        'completed_at', to_char(d.completed_at at time zone 'utc', form),
        'response_time_ms', d.response_time_ms, 'response_status', d.response_status,
        'error_code', d.error_code, 'error_message', d.error_message,
        'next_attempt_at', to_char(d.next_attempt_at at time zone 'utc', form)
      ) order by d.position) from deliveries d
    ), (
      select json_agg(json_build_object(
        'name', coalesce(s.name, ''),
        'protocol', coalesce(s.protocol, (
          select d.protocol from destinations d
          where d.tenant_id = j.tenant_id and d.name = s.name and d.deleted_at is null
        )),
        'status', case j.status when 'cancelled' then 'cancelled' when 'failed' then 'failed' else 'pending' end,
        'attempts', 0, 'started_at', null, 'completed_at', to_char(j.completed_at at time zone 'utc', form),
        'response_time_ms', null, 'response_status', null, 'error_code', j.error_code, 'error_message', null,
        'next_attempt_at', null
      ) order by s.position) from submitted_destinations(j.destinations) s
    ), '[]'),
    'metrics', (
      select json_build_object(
        'total_latency_ms', round(extract(epoch from date_trunc('milliseconds', j.completed_at)
                                                   - date_trunc('milliseconds', j.created_at)) * 1000)::bigint,
        'average_response_time_ms', floor(avg(d.response_time_ms) + 0.5)::bigint,
        'success_rate', coalesce(round(
          count(*) filter (where d.status = 'success')::numeric
          / nullif(count(*) filter (where d.status <> 'skipped' or d.error_code is not null), 0), 4
        ), case when count(*) = 0 and exists (select from submitted_destinations(j.destinations)) then 0 end)::float8,
        'retry_count', coalesce(sum(greatest(0, d.attempts - 1)), 0)
      ) from deliveries d
    )
  )::text
  from distribution_jobs j, times
  where j.id = p_id
$$;
