-- What each role may do. Nothing is granted on partitions: whoever reads them directly would pass by the policies.

-- The application, bound by row security. Rows of distributions leave by months alone, so there is no delete on them.
grant select, insert, update on
  tenants, api_keys, destinations, batches,
  distribution_jobs, distribution_deliveries, distribution_attempts, attempt_logs, distribution_callbacks
  to distributor_app;
grant select, insert, update, delete on
  credentials, data_types, distribution_rules, rule_conditions, idempotency_keys
  to distributor_app;
grant select, insert on destination_configs, destination_health_checks, audit_log to distributor_app;
grant select on destination_types, rule_types, distribution_summary, destination_health to distributor_app;

-- The definer functions and the refresh of the materialized views.
grant select on
  tenants, api_keys, credentials, destinations, distribution_jobs, distribution_deliveries, distribution_attempts,
  distribution_callbacks, idempotency_keys
  to distributor_system;
grant delete on idempotency_keys to distributor_system;

-- Every definer function: nobody but whom it is for. Grants come before the change of owner, which takes them along.
revoke all on function
  ensure_partitions(integer), make_month(date), lock_months(date), drop_month(date),
  find_api_key(bytea), list_tenants(), due_jobs(integer, boolean, uuid), due_callbacks(integer), queue_depths(),
  sealed_key_ids(), refresh_views(), count_open_jobs(uuid, uuid), forget_idempotency_keys(uuid, uuid)
  from public;

grant execute on function
  ensure_partitions(integer), drop_month(date),
  find_api_key(bytea), list_tenants(), due_jobs(integer, boolean, uuid), due_callbacks(integer), queue_depths(),
  sealed_key_ids(), refresh_views()
  to distributor_app;

alter function find_api_key(bytea) owner to distributor_system;
alter function list_tenants() owner to distributor_system;
alter function due_jobs(integer, boolean, uuid) owner to distributor_system;
alter function due_callbacks(integer) owner to distributor_system;
alter function queue_depths() owner to distributor_system;
alter function sealed_key_ids() owner to distributor_system;
alter function refresh_views() owner to distributor_system;

alter function count_open_jobs(uuid, uuid) owner to distributor_system;
alter function forget_idempotency_keys(uuid, uuid) owner to distributor_system;

-- drop_month runs as the owner of the tables and calls these two. After the change of owner, which would have turned a
-- grant to the old owner into one to the new.
do $$
begin
  execute format(
    'grant execute on function count_open_jobs(uuid, uuid), forget_idempotency_keys(uuid, uuid) to %I', current_user
  );
end
$$;

-- A process that starts says which migrations it misses.
grant select on schema_migrations to distributor_app;
