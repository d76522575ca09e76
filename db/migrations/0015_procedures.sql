-- The seed's two procedures. Neither commits, as the seed's do: an idempotency key and the job it names must stand or
-- fall together, and a commit is refused in a procedure that is called inside a transaction.

-- Changed from the seed: trailing parameters for what the API adds; p_id tells the caller which id was made. Without
-- p_distribution_id it is made from the id, otherwise the id is taken from it. p_max_retries defaults to null (nobody
-- asked). Without p_payload_bytes the jsonb's text is what will be delivered. The life ends at the earlier of
-- p_expires_at and p_timeout_seconds counted from p_deliver_at or now; with neither, after 300 s.
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
begin
  if p_id is null then
    if p_distribution_id is null then
      p_id := new_uuidv7();
    elsif p_distribution_id ~ '^dist_[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$' then
      p_id := substr(p_distribution_id, 6)::uuid;
    else
      raise exception 'distribution_id must be dist_ followed by a UUIDv7: %', p_distribution_id
        using errcode = 'invalid_parameter_value';
    end if;
  end if;

  -- Never before created_at, which comes from the id.
  v_now := greatest(clock_timestamp(), id_time(p_id));

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
    p_destinations,
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

-- Changed from the seed: the row is locked and only moves forward (pending → processing → a final state), so that a
-- repeated call changes nothing and logs nothing; p_changed says which. The row is found through the primary key. now()
-- is the start of the transaction and may lie before created_at, hence clock_timestamp().
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
  v_job_id uuid;
  v_tenant_id varchar(50);
  v_old_status varchar(20);
  v_final boolean := p_new_status in ('completed', 'failed', 'cancelled');
begin
  if p_distribution_id ~ '^dist_[0-9a-f-]{36}$' then
    select id, tenant_id, status into v_job_id, v_tenant_id, v_old_status
    from distribution_jobs
    where id = substr(p_distribution_id, 6)::uuid
    for update;
  end if;

  if v_job_id is null then
    raise exception 'Distribution job not found: %', p_distribution_id using errcode = 'no_data_found';
  end if;

  p_changed := case v_old_status
    when 'pending' then p_new_status <> 'pending'
    when 'processing' then v_final
    else false
  end;
  if not p_changed then
    return;
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
      error_code = case when v_final then p_error_code else error_code end,
      error_message = case when p_new_status = 'failed' then p_error_message else error_message end
  where id = v_job_id;

  insert into audit_log (tenant_id, actor, action, resource_type, resource_id, details)
  values (
    v_tenant_id, coalesce(p_actor, 'system'), 'status_update', 'distribution_job', v_job_id::text,
    jsonb_build_object(
      'old_status', v_old_status,
      'new_status', p_new_status,
      'error_code', p_error_code,
      'error_message', p_error_message
    )
  );
end
$$;
