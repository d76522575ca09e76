-- Every tenant's rows are its own: read, written and referred to. Forced, so that the owner of the tables is bound as
-- well.
--
-- The seed's current_setting('app.tenant_id') raises an error where nothing was set, and is '' in a fresh transaction
-- after an earlier one on the same connection used set_config; both mean no tenant, and no row. The seed has no
-- policy on distribution_attempts although it enables row security there, which would hide all rows; every table gets
-- one, with check.
--
-- distributor_system has a policy of its own, since a definer function is bound like anybody else and managed servers
-- refuse bypassrls. What it may really do is said by the grants in 0020.
do $$
declare
  v_table text;
  v_tenant constant text := 'nullif(current_setting(''app.tenant_id'', true), '''')';
  v_column text;
begin
  foreach v_table in array array[
    'tenants', 'api_keys', 'credentials', 'data_types', 'destinations', 'destination_configs',
    'destination_health_checks', 'distribution_rules', 'rule_conditions', 'distribution_jobs',
    'distribution_deliveries', 'distribution_attempts', 'attempt_logs', 'distribution_callbacks',
    'idempotency_keys', 'audit_log', 'batches'
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

  -- Shared rows are read by all. A policy for select alone: were they in the policy above, a tenant could make one
  -- its own by updating its tenant_id.
  foreach v_table in array array['data_types', 'distribution_rules', 'rule_conditions'] loop
    execute format(
      'create policy %I on %I for select using (tenant_id is null)', v_table || '_shared_policy', v_table
    );
  end loop;
end
$$;
