-- The procedure submit_distribution, which the API calls and an operator may call by hand. A call by hand is checked
-- here; a caller that passes p_actor has checked its arguments.

-- Returns the destinations in the form in which they are stored. It accepts the forms of the API (the name of a
-- registered destination, or an inline object with its fields beside the protocol) and the stored forms themselves.
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
  v_protocols constant text[] := array(select t.id from destination_types t order by 1);
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

-- Refuses arguments outside the API's bounds, with the API's messages.
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

-- Neither this procedure nor update_distribution_status commits: an idempotency key and its distribution must be
-- written together or not at all, and a procedure that is called inside a transaction may not commit.
--
-- The parameters after p_expires_at are not in the specification. p_id returns the new id. p_distribution_id is made
-- from the id, or the id from it when it is given. p_max_retries is null by default (not given). Without
-- p_payload_bytes the text of the jsonb is delivered. The distribution expires at the earlier of p_expires_at and
-- p_timeout_seconds after p_deliver_at or now; with neither, after 300 seconds.
create procedure submit_distribution(
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

  -- Not before created_at, which comes from the id.
  v_now := greatest(clock_timestamp(), id_time(p_id));
  if p_expires_at <= v_now then
    raise exception 'expires_at is in the past: %', p_expires_at
      using errcode = 'check_violation', constraint = 'chk_distribution_jobs_expires_future',
            table = 'distribution_jobs';
  end if;
  -- Not every reader can parse the year 10000, and none can parse infinity.
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
    -- least() ignores nulls.
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
