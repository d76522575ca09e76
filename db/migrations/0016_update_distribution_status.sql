-- The procedure update_distribution_status, which the service calls and an operator may call by hand. A call by hand
-- that ends a distribution also ends its open deliveries and queues the callback, as the service does.

-- The destinations that a submission names, whatever the column holds: an entry without a name has a null name, and a
-- value that is not a list has no entries.
create function submitted_destinations(p_destinations jsonb)
  returns table (name text, protocol text, "position" bigint)
  language sql stable
  set search_path = public, pg_temp
as $$
  select
    case jsonb_typeof(e) when 'object' then e ->> 'name' when 'string' then e #>> '{}' end,
    case when jsonb_typeof(e) = 'object' then e ->> 'protocol' end,
    n
  from jsonb_array_elements(case jsonb_typeof(p_destinations) when 'array' then p_destinations else '[]' end)
    with ordinality as t (e, n)
$$;

-- The body of the callback of a distribution that has ended.
create function callback_body(p_id uuid, p_event_type text) returns text
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
          count(*) filter (where d.status = 'success') * 100.0
          / nullif(count(*) filter (where d.status <> 'skipped' or d.error_code is not null), 0), 2
        ), case when count(*) = 0 and exists (select from submitted_destinations(j.destinations)) then 0 end)::float8,
        'retry_count', coalesce(sum(greatest(0, d.attempts - 1)), 0)
      ) from deliveries d
    )
  )::text
  from distribution_jobs j, times
  where j.id = p_id
$$;

-- Queues the callback of a distribution that has just ended, if it has a callback_url. The sweep looks for its workflow
-- at p_check_at.
create function queue_callback(p_id uuid, p_event_type text, p_check_at timestamptz) returns void
  language sql volatile
  set search_path = public, pg_temp
as $$
  insert into webhooks (tenant_id, kind, subject_id, round, event_type, url, body, check_at)
  select tenant_id, 'distribution', id, round, p_event_type, callback_url, callback_body(id, p_event_type), p_check_at
  from distribution_jobs
  where id = p_id and callback_url is not null
  on conflict do nothing
$$;

-- Ends the open deliveries and attempts of a distribution.
create function end_open_deliveries(
  p_id uuid, p_status varchar(20), p_code varchar(40), p_message text
) returns void
  language sql volatile
  set search_path = public, pg_temp
as $$
  update distribution_deliveries
  set status = p_status, error_code = p_code, error_message = p_message, next_attempt_at = null,
      completed_at = clock_timestamp(), updated_at = clock_timestamp()
  where distribution_job_id = p_id and status in ('pending', 'processing', 'waiting');
  update distribution_attempts
  set status = 'cancelled', retry_reason = p_code, error_message = p_message,
      completed_at = greatest(clock_timestamp(), started_at),
      metadata = metadata || '{"outcome": "unknown"}'
  where distribution_job_id = p_id and status = 'processing';
$$;

-- Unlike the specification's, it locks the row and only moves forward (pending → processing → a final state). An
-- unknown status, or a step back, is an error that names what is valid. p_changed is false only when the status was
-- already the new one; the call then changes nothing and logs nothing. Times come from clock_timestamp(), because now()
-- is the start of the transaction and may be before created_at.
create procedure update_distribution_status(
  p_distribution_id varchar(100),
  p_new_status varchar(20),
  p_error_message text default null,
  p_error_code varchar(40) default null,
  p_actor text default null,
  inout p_changed boolean default null
)
language plpgsql
as $$
declare
  v_job distribution_jobs;
  v_final boolean := p_new_status in ('completed', 'failed', 'cancelled');
  v_by_hand boolean := p_actor is distinct from 'distributor';
  v_code varchar(40) := p_error_code;
  v_event text := 'distribution.' || p_new_status;
begin
  if p_new_status is null or p_new_status not in ('pending', 'processing', 'completed', 'failed', 'cancelled') then
    raise exception 'status must be one of pending, processing, completed, failed, cancelled, not %',
      coalesce(quote_literal(p_new_status), 'null')
      using errcode = 'check_violation', constraint = 'chk_distribution_jobs_status', table = 'distribution_jobs';
  end if;
  if p_distribution_id ~ '^dist_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then
    select * into v_job from distribution_jobs where id = substr(p_distribution_id, 6)::uuid for update;
  end if;
  if v_job.id is null then
    raise exception 'Distribution job not found: %', p_distribution_id
      using errcode = 'no_data_found', hint = 'Under row security, first run: set app.tenant_id = ''…'';';
  end if;

  p_changed := v_job.status <> p_new_status;
  if not p_changed then
    return;
  end if;
  if v_job.status in ('completed', 'failed', 'cancelled') then
    raise exception 'a distribution that is % cannot become %', v_job.status, p_new_status
      using errcode = 'object_not_in_prerequisite_state',
            hint = 'To send it again: POST /api/v1/distribution/{id}/retry';
  elsif p_new_status = 'pending' then
    raise exception 'a distribution that is % cannot become pending', v_job.status
      using errcode = 'object_not_in_prerequisite_state';
  end if;

  if v_by_hand and v_final then
    v_code := coalesce(p_error_code, case p_new_status when 'failed' then 'UNEXPECTED' when 'cancelled' then 'CANCELLED' end);
    case p_new_status
      when 'completed' then
        perform end_open_deliveries(v_job.id, 'skipped', 'CANCELLED', 'Not sent: the distribution was completed by hand');
      when 'cancelled' then
        perform end_open_deliveries(v_job.id, 'cancelled', 'CANCELLED', 'The distribution was cancelled');
      else
        perform end_open_deliveries(v_job.id, 'failed', v_code, coalesce(p_error_message, 'The distribution was failed by hand'));
        v_event := case v_code when 'EXPIRED' then 'distribution.expired' else v_event end;
    end case;
  end if;

  update distribution_jobs
  set status = p_new_status,
      updated_at = clock_timestamp(),
      started_at = case
        when p_new_status = 'processing' then coalesce(started_at, clock_timestamp())
        else started_at
      end,
      completed_at = case when v_final then greatest(clock_timestamp(), created_at) else completed_at end,
      check_at = case when v_final then null else check_at end,
      error_code = case when v_final then v_code else error_code end,
      error_message = case when p_new_status = 'failed' then p_error_message else error_message end,
      retry_count = case
        when v_by_hand and v_final then (
          select coalesce(sum(greatest(0, d.attempts - 1)), 0) from distribution_deliveries d
          where d.distribution_job_id = v_job.id)
        else retry_count
      end,
      cancel_requested_at = case
        when v_by_hand and p_new_status = 'cancelled' then coalesce(cancel_requested_at, clock_timestamp())
        else cancel_requested_at
      end,
      cancel_reason = case
        when v_by_hand and p_new_status = 'cancelled' then coalesce(cancel_reason, left(p_error_message, 500))
        else cancel_reason
      end
  where id = v_job.id;

  if v_by_hand and v_final then
    -- Due now, so the sweep sends it within half a minute.
    perform queue_callback(v_job.id, v_event, clock_timestamp());
  end if;

  insert into audit_log (tenant_id, actor, action, resource_type, resource_id, details)
  values (
    v_job.tenant_id, coalesce(p_actor, 'system'), 'status_update', 'distribution_job', v_job.id::text,
    jsonb_build_object(
      'old_status', v_job.status,
      'new_status', p_new_status,
      'error_code', v_code,
      'error_message', p_error_message
    )
  );
end
$$;
