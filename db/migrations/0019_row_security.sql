-- Each tenant reads, writes and refers to its own rows alone. Row security is forced, so that it binds the owner of the
-- tables too.
--
-- The tenant is the setting app.tenant_id. It may be unset, or '' in a later transaction of a connection that once set
-- it; both mean no tenant and show no row. (The specification's current_setting('app.tenant_id') raises an error when
-- it is unset. It also enables row security on distribution_attempts without a policy, which would hide every row.)
--
-- A function that runs as distributor_system is bound as well, because managed servers refuse BYPASSRLS. Its policy
-- shows it all rows; the grants say what it may do with them.
do $$
declare
  v_table text;
  v_tenant constant text := 'nullif(current_setting(''app.tenant_id'', true), '''')';
  v_column text;
begin
  foreach v_table in array array[
    'tenants', 'api_keys', 'audit_log',
    'data_types',
    'destinations', 'destination_configs', 'destination_health_checks', 'credentials',
    'distribution_rules', 'rule_conditions', 'rule_turns',
    'distribution_jobs', 'idempotency_keys',
    'distribution_deliveries', 'distribution_attempts', 'attempt_logs',
    'webhooks', 'event_windows',
    'batches', 'batch_items',
    'distribution_schedules',
    'destination_circuits', 'rate_limits', 'api_rate_limits', 'destination_slots'
  ] loop
    v_column := case v_table when 'tenants' then 'id' else 'tenant_id' end;
    execute format('alter table %I enable row level security', v_table);
    execute format('alter table %I force row level security', v_table);
    execute format(
      'create policy %I on %I for all using (%I = %s) with check (%I = %s)',
      v_table || '_tenant_policy', v_table, v_column, v_tenant, v_column, v_tenant
    );
    execute format(
      'create policy %I on %I for all to distributor_system using (true) with check (true)',
      v_table || '_system_policy', v_table
    );
  end loop;

  -- Every tenant reads the shared rows. A policy of its own, for select alone: as part of the policy above it would let
  -- a tenant take a shared row by setting its tenant_id.
  foreach v_table in array array['data_types', 'distribution_rules', 'rule_conditions'] loop
    execute format(
      'create policy %I on %I for select using (tenant_id is null)', v_table || '_shared_policy', v_table
    );
  end loop;
end
$$;
