-- What each role may do. Nothing is granted on partitions: reading one directly would bypass the policies of its table.

-- The application, which row security binds. It may not delete distributions and what belongs to them: those leave by
-- months (drop_month).
grant select, insert, update on
  tenants, api_keys, destinations, rule_turns,
  distribution_jobs, distribution_deliveries, distribution_attempts, attempt_logs,
  webhooks, event_windows, batches, batch_items
  to distributor_app;
grant select, insert, update, delete on
  credentials, data_types, distribution_rules, rule_conditions, idempotency_keys, distribution_schedules,
  destination_circuits, rate_limits, api_rate_limits, destination_slots
  to distributor_app;
grant select, insert on destination_configs, destination_health_checks, audit_log to distributor_app;
grant select on
  destination_types, rule_types, distribution_callbacks, distribution_summary, destination_health
  to distributor_app;
grant usage on sequence distribution_ordering to distributor_app;
-- A process that starts names the migrations that are missing.
grant select on schema_migrations to distributor_app;

-- The functions below, and the refresh of the materialized views.
grant select on
  tenants, api_keys, credentials, destinations, destination_health_checks,
  distribution_jobs, distribution_deliveries, distribution_attempts, webhooks, batches, batch_items,
  distribution_schedules, idempotency_keys, destination_circuits, rate_limits, destination_slots
  to distributor_system;
grant select, insert, update, delete on data_types, distribution_rules, rule_conditions, event_windows, api_rate_limits
  to distributor_system;
grant insert, update (check_at) on webhooks to distributor_system;
grant update (callback_url) on batches to distributor_system;
grant select, update on event_marks to distributor_system;
grant delete on
  idempotency_keys, batches, batch_items, webhooks, destination_health_checks,
  destination_circuits, rate_limits, destination_slots
  to distributor_system;

-- Functions that the application calls and that read or write the rows of all tenants. They run as distributor_system.
do $$
declare
  v_function regproc;
begin
  foreach v_function in array array[
    'find_api_key', 'list_tenants', 'usable_platform_keys',
    'put_shared_data_type', 'delete_shared_data_type',
    'lock_shared_rule', 'put_shared_rule', 'delete_shared_rule',
    'health_check_schedules', 'take_api_requests', 'open_circuits', 'forget_limits',
    'count_failed_deliveries', 'notify_event_windows',
    'due_jobs', 'due_webhooks', 'due_batches', 'due_schedules', 'due_turns',
    'deleted_destinations_in_use', 'waiting_targets', 'bring_forward',
    'sealed_key_ids', 'queue_depths', 'refresh_view', 'refresh_views'
  ]::regproc[] loop
    execute format('revoke all on function %s from public', v_function);
    execute format('grant execute on function %s to distributor_app', v_function);
    execute format('alter function %s owner to distributor_system', v_function);
  end loop;
end
$$;

-- Functions that create and drop partitions. They run as the owner of the tables, and so does what drop_month calls.
revoke all on function ensure_partitions, drop_month, make_month, lock_months from public;
grant execute on function ensure_partitions, drop_month to distributor_app;

-- What drop_month calls for rows of all tenants. The owner of the tables gets its right after the change of owner,
-- which would turn an earlier grant to the old owner into one to the new owner.
revoke all on function count_open_jobs, forget_idempotency_keys from public;
alter function count_open_jobs owner to distributor_system;
alter function forget_idempotency_keys owner to distributor_system;
do $$
begin
  execute format('grant execute on function count_open_jobs, forget_idempotency_keys to %I', current_user);
end
$$;
