-- The seed's two procedures, for operators who call them by hand: what nobody could carry out is refused with a message that
-- says why, and an end by hand is as whole as one by the service. A caller that passes p_actor has checked its arguments.

-- Changed from before: the destinations in the form in which they are stored. Taken are the API's forms, the name of a
-- registered destination and an inline object with its fields flat, and the stored forms themselves.
create function read_destinations(p_destinations jsonb) returns jsonb
  language plpgsql stable
  set search_path = public, pg_temp
as $$
declare
  v_entry jsonb;
  v_at integer := 0;
  v_where text;
  v_name text;
  v_names text[] := '{}';
  v_read jsonb[] := '{}';
  v_protocols constant text[] := array(select distinct t.protocol from destination_types t order by 1);
begin
  if p_destinations is null or jsonb_typeof(p_destinations) <> 'array' then
    raise exception 'destinations must be a JSON array, not %', coalesce(jsonb_typeof(p_destinations), 'null')
      using errcode = 'invalid_parameter_value',
            hint = 'Pass ''["warehouse"]'', or ''[]'' to let the routing rules choose.';
  end if;
  if jsonb_array_length(p_destinations) > 1000 then
    raise exception 'destinations must have at most 1000 entries, not %', jsonb_array_length(p_destinations)
      using errcode = 'invalid_parameter_value';
  end if;

  for v_entry in select e from jsonb_array_elements(p_destinations) with ordinality as t (e, n) order by n loop
    v_where := format('destinations[%s]', v_at);
    v_at := v_at + 1;
    if jsonb_typeof(v_entry) = 'string' then
      v_entry := jsonb_build_object('name', v_entry);
    elsif jsonb_typeof(v_entry) <> 'object' then
      raise exception '% must be the name of a registered destination or an object, not %', v_where, jsonb_typeof(v_entry)
        using errcode = 'invalid_parameter_value';
    end if;

    v_name := v_entry ->> 'name';
    if jsonb_typeof(v_entry -> 'name') is distinct from 'string' or v_name !~ '^[a-zA-Z0-9_-]{1,100}$' then
      raise exception '%.name must be a text of 1 to 100 letters, digits, _ or -', v_where
        using errcode = 'invalid_parameter_value';
    end if;
    if v_name = any (v_names) then
      raise exception '% has the same name as an entry before it: %', v_where, v_name
        using errcode = 'invalid_parameter_value';
    end if;
    v_names := v_names || v_name;

    if v_entry ? 'protocol' then
      if jsonb_typeof(v_entry -> 'protocol') <> 'string'
        or v_entry ->> 'protocol' <> all (v_protocols) then
        raise exception '%.protocol must be one of %', v_where, array_to_string(v_protocols, ', ')
          using errcode = 'invalid_parameter_value';
      end if;
      if coalesce(v_entry -> 'max_retries', 'null') <> 'null' and not (
        jsonb_typeof(v_entry -> 'max_retries') = 'number' and v_entry ->> 'max_retries' ~ '^([0-9]|[1-4][0-9]|50)$'
      ) then
        raise exception '%.max_retries must be a whole number from 0 to 50', v_where
          using errcode = 'invalid_parameter_value';
      end if;
      if not v_entry ? 'configuration' then
        v_entry := jsonb_build_object(
          'name', v_name,
          'protocol', v_entry -> 'protocol',
          'configuration', v_entry - array['name', 'protocol', 'max_retries'],
          'max_retries', v_entry -> 'max_retries'
        );
      elsif jsonb_typeof(v_entry -> 'configuration') <> 'object'
        or v_entry - array['name', 'protocol', 'configuration', 'max_retries'] <> '{}' then
        raise exception '%.configuration must be an object that holds all fields of the protocol', v_where
          using errcode = 'invalid_parameter_value';
      end if;
    elsif v_entry - 'name' <> '{}' then
      raise exception '%.protocol is required in an inline destination; a registered one is named by a string', v_where
        using errcode = 'invalid_parameter_value';
    end if;
    v_read := v_read || v_entry;
  end loop;
  return to_jsonb(v_read);
end
$$;

-- What is wrong with the arguments of a call by hand: the API's bounds, in the API's words.
create function refuse_submission(
  p_tenant_id varchar(50), p_data_type varchar(50), p_payload jsonb, p_destinations jsonb, p_callback_url text,
  p_max_retries integer, p_payload_bytes bytea, p_metadata jsonb, p_options jsonb, p_timeout_seconds integer
) returns void
  language plpgsql stable
  set search_path = public, pg_temp
as $$
declare
  v_unknown text;
begin
  if row_security_active('distribution_jobs') and not pg_has_role('distributor_system', 'usage')
    and nullif(current_setting('app.tenant_id', true), '') is distinct from p_tenant_id then
    raise exception 'the session is not set to the tenant %', coalesce(quote_literal(p_tenant_id), 'null')
      using errcode = 'insufficient_privilege', hint = format('First run: set app.tenant_id = %L;', p_tenant_id);
  end if;
  if p_tenant_id is null or not exists (select from tenants t where t.id = p_tenant_id) then
    raise exception 'there is no tenant %', coalesce(quote_literal(p_tenant_id), 'null')
      using errcode = 'invalid_parameter_value';
  end if;
  if p_data_type is null or char_length(p_data_type) not between 1 and 50 then
    raise exception 'data_type must have 1 to 50 characters' using errcode = 'invalid_parameter_value';
  end if;
  if p_payload is null then
    raise exception 'payload must not be null' using errcode = 'invalid_parameter_value',
      hint = 'The JSON value null is ''null''::jsonb.';
  end if;
  if p_callback_url !~ '^https?://' then
    raise exception 'callback_url must begin with http:// or https://' using errcode = 'invalid_parameter_value';
  end if;
  if p_max_retries not between 0 and 50 then
    raise exception 'max_retries must be a whole number from 0 to 50' using errcode = 'invalid_parameter_value';
  end if;
  if p_timeout_seconds not between 1 and 2592000 then
    raise exception 'timeout_seconds must be a whole number from 1 to 2592000' using errcode = 'invalid_parameter_value';
  end if;
  if jsonb_typeof(p_metadata) <> 'object' then
    raise exception 'metadata must be a JSON object' using errcode = 'invalid_parameter_value';
  end if;
  if jsonb_typeof(p_options) <> 'object' then
    raise exception 'options must be a JSON object' using errcode = 'invalid_parameter_value';
  end if;
  if coalesce(p_options ->> 'compression', 'none') not in ('none', 'gzip')
    or coalesce(p_options -> 'encryption_required', 'false') not in ('true', 'false') then
    raise exception 'options: compression must be "none" or "gzip", encryption_required true or false'
      using errcode = 'invalid_parameter_value';
  end if;
  if p_payload_bytes is not null then
    begin
      perform convert_from(p_payload_bytes, 'UTF8')::json;
    exception when data_exception or character_not_in_repertoire or untranslatable_character then
      raise exception 'payload_bytes must be JSON text in UTF-8' using errcode = 'invalid_parameter_value';
    end;
  end if;

  select string_agg(e ->> 'name', ', ') into v_unknown
  from jsonb_array_elements(p_destinations) as t (e)
  where not e ? 'protocol' and not exists (
    select from destinations d where d.tenant_id = p_tenant_id and d.name = e ->> 'name' and d.deleted_at is null
  );
  if v_unknown is not null then
    raise exception 'no destination is registered as %', v_unknown using errcode = 'invalid_parameter_value',
      hint = 'Register it first, or give an inline destination with its protocol.';
  end if;
end
$$;

create or replace procedure submit_distribution(
  p_tenant_id varchar(50),
  p_distribution_id varchar(100),
  p_data_type varchar(50),
  p_payload jsonb,
  p_destinations jsonb,
  p_priority varchar(10) default 'normal',
  p_callback_url text default null,
  p_max_retries integer default null,
  p_expires_at timestamptz default null,
  p_payload_bytes bytea default null,
  p_metadata jsonb default '{}',
  p_options jsonb default '{}',
  p_timeout_seconds integer default null,
  p_deliver_at timestamptz default null,
  p_request_id text default null,
  p_actor text default null,
  inout p_id uuid default null
)
language plpgsql
as $$
declare
  v_now timestamptz;
  v_destinations constant jsonb := read_destinations(p_destinations);
begin
  if p_actor is null then
    perform refuse_submission(
      p_tenant_id, p_data_type, p_payload, v_destinations, p_callback_url, p_max_retries, p_payload_bytes, p_metadata,
      p_options, p_timeout_seconds
    );
  end if;
  if p_priority not in ('low', 'normal', 'high', 'critical') then
    raise exception 'priority must be one of low, normal, high, critical, not %', quote_literal(p_priority)
      using errcode = 'invalid_parameter_value';
  end if;

  if p_id is null then
    if p_distribution_id is null then
      p_id := new_uuidv7();
    elsif p_distribution_id ~ '^dist_[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$' then
      p_id := substr(p_distribution_id, 6)::uuid;
    else
      raise exception 'distribution_id must be dist_ followed by a UUIDv7: %', p_distribution_id
        using errcode = 'invalid_parameter_value',
              hint = 'Pass null: the id is made, and comes back in p_id.';
    end if;
  end if;

  -- Never before created_at, which comes from the id.
  v_now := greatest(clock_timestamp(), id_time(p_id));
  if p_expires_at <= v_now then
    raise exception 'expires_at is in the past: %', p_expires_at
      using errcode = 'check_violation', constraint = 'chk_distribution_jobs_expires_future',
            table = 'distribution_jobs';
  end if;
  -- The year 10000 has no form that every reader takes, and infinity none at all.
  if p_expires_at >= '10000-01-01' then
    raise exception 'expires_at must be a time before the year 10000' using errcode = 'invalid_parameter_value';
  end if;
  if p_deliver_at > v_now + interval '90 days 1 minute' or p_deliver_at = '-infinity' then
    raise exception 'deliver_at must be at most 90 days ahead' using errcode = 'invalid_parameter_value';
  end if;

  insert into distribution_jobs (
    id, tenant_id, distribution_id, data_type, payload, payload_bytes, destinations, priority, callback_url,
    max_retries, expires_at, deliver_at, timeout_seconds, metadata, options, request_id, updated_at, check_at
  ) values (
    p_id,
    p_tenant_id,
    coalesce(p_distribution_id, 'dist_' || p_id::text),
    p_data_type,
    p_payload,
    coalesce(p_payload_bytes, convert_to(p_payload::text, 'UTF8')),
    v_destinations,
    coalesce(p_priority, 'normal'),
    p_callback_url,
    p_max_retries,
    -- least() passes over nulls.
    least(
      p_expires_at,
      greatest(v_now, p_deliver_at) + make_interval(
        secs => coalesce(p_timeout_seconds, case when p_expires_at is null then 300 end)
      )
    ),
    p_deliver_at,
    coalesce(p_timeout_seconds, 300),
    coalesce(p_metadata, '{}'),
    coalesce(p_options, '{}'),
    p_request_id,
    v_now,
    v_now + interval '60 seconds'
  );

  insert into audit_log (tenant_id, actor, action, resource_type, resource_id, details, request_id)
  values (
    p_tenant_id, coalesce(p_actor, 'system'), 'submit', 'distribution_job', p_id::text,
    jsonb_build_object('tenant_id', p_tenant_id, 'distribution_id', 'dist_' || p_id::text),
    p_request_id
  );
end
$$;

-- The destinations that a submission names, whatever stands in the column: an entry without a name has none, and what is no
-- list is one without entries.
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

-- The text of the callback of a distribution that has ended, as the service writes it (db/distributions/finish.ts).
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

-- Ends what is open of a distribution that is ended by hand, as the service does it.
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

-- Changed: an unknown status, and a move that leads back, are errors that say what is valid. A call that is not the
-- service's own also ends what is open, and queues the callback. p_changed is false only where the status is that already.
create or replace procedure update_distribution_status(
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

  if v_by_hand and v_final and v_job.callback_url is not null then
    -- Due at once: the sweep sends it within half a minute.
    insert into distribution_callbacks
      (distribution_job_id, round, tenant_id, event_type, callback_url, body, status, check_at)
    values (
      v_job.id, v_job.round, v_job.tenant_id, v_event, v_job.callback_url, callback_body(v_job.id, v_event), 'pending',
      clock_timestamp()
    )
    on conflict do nothing;
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
