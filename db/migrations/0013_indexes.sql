-- The seed's indexes, each with the question it answers. Three things differ throughout:
--   concurrently  is impossible in a transaction and on a partitioned table; these tables are empty, so nobody waits
--   now() and current_date in a predicate are refused (not immutable); partitions by month bound the time instead
--   btree on free text fails the insert of a value beyond some 2,700 bytes; such an index is a hash or GIN index
-- Under row-level security PostgreSQL uses an index only for leakproof operators, before it checks the tenant:
-- comparisons of uuid, text and time are; jsonb's are not. The GIN indexes therefore serve roles that see all rows.

-- distribution_jobs
-- A tenant's distributions in one state.
create index idx_distribution_jobs_tenant_status on distribution_jobs (tenant_id, status);
-- The newest of all, for operators.
create index idx_distribution_jobs_created_at on distribution_jobs (created_at desc);
-- `where distribution_id = …` written by hand; our own statements go through the primary key.
create index idx_distribution_jobs_distribution_id on distribution_jobs (distribution_id);
-- List filter data_type.
create index idx_distribution_jobs_data_type on distribution_jobs (data_type);
-- List filter priority.
create index idx_distribution_jobs_priority on distribution_jobs (priority);
-- What expires next. The seed's predicate `expires_at is not null` is always true here.
create index idx_distribution_jobs_expires_at on distribution_jobs (expires_at);
-- Questions to the payload: payload @> '{"report_id": …}'. jsonb_ops hashes keys beyond 125 bytes, so any length
-- fits. Changed from the seed: payloads up to 64 KiB alone. The status stands in other indexes, so that each change
-- of it writes the row's entries anew in all of them; for a payload of 8 MB that took 1.6 s per change, and 1.4 s of
-- each submission (measured on 15 and 18). A query uses the index when it says octet_length(payload_bytes) <= 65536
-- too, which is read from the row without fetching the bytes; without that it reads the rows that its other
-- conditions leave.
create index idx_distribution_jobs_payload_gin on distribution_jobs using gin (payload)
  where octet_length(payload_bytes) <= 65536;
create index idx_distribution_jobs_metadata_gin on distribution_jobs using gin (metadata);
-- Clean-up of finished distributions; the query brings the seed's `expires_at < now()` itself.
create index idx_distribution_jobs_expired on distribution_jobs (expires_at) where status in ('completed', 'failed');
-- The list with its filters; the seed's last 90 days are the query's id bound.
create index idx_distribution_jobs_composite_search
  on distribution_jobs (tenant_id, status, created_at desc, data_type);
-- What is under way, newest first.
create index idx_distribution_jobs_active on distribution_jobs (created_at desc)
  where status in ('pending', 'processing');
-- One report by its id. A btree would refuse a long value, and with it the distribution: hash.
create index idx_distribution_jobs_payload_path
  on distribution_jobs using hash ((payload ->> 'report_id')) where payload ? 'report_id';
-- Ours. The sweep: open rows whose time to be looked at has come.
create index idx_distribution_jobs_check_at on distribution_jobs (check_at) where status in ('pending', 'processing');
-- Ours. A tenant's list without filters, newest first, and its pages.
create index idx_distribution_jobs_tenant_id on distribution_jobs (tenant_id, id desc);
-- Ours. The distributions of one batch.
create index idx_distribution_jobs_batch on distribution_jobs (batch_id) where batch_id is not null;

-- distribution_deliveries
-- List filter destination.
create index idx_distribution_deliveries_destination
  on distribution_deliveries (tenant_id, destination_name, distribution_job_id desc);

-- distribution_attempts
-- All attempts of a job.
create index idx_distribution_attempts_job_id on distribution_attempts (distribution_job_id);
create index idx_distribution_attempts_status on distribution_attempts (status);
-- The last 24 hours (destination_health_mv).
create index idx_distribution_attempts_started_at on distribution_attempts (started_at desc);
create index idx_distribution_attempts_destination on distribution_attempts (destination_name);
create index idx_distribution_attempts_response_code on distribution_attempts (response_status_code);
-- Troubleshooting one destination of one job.
create index idx_distribution_attempts_job_destination_status
  on distribution_attempts (distribution_job_id, destination_name, status);

-- attempt_logs: what one attempt said; also the cascade from its attempt.
create index idx_attempt_logs_attempt on attempt_logs (distribution_job_id, attempt_id);

-- distribution_callbacks: the sweep, as for jobs.
create index idx_distribution_callbacks_check_at on distribution_callbacks (check_at) where status = 'pending';

-- destinations
create index idx_destinations_protocol on destinations (protocol);
create index idx_destinations_status on destinations (status);
create index idx_destinations_health_status on destinations (health_status);
create index idx_destinations_last_used on destinations (last_used desc);
create index idx_destinations_tags on destinations using gin (tags);
create index idx_destinations_config_gin on destinations using gin (configuration);
-- The health history of one destination, newest first.
create index idx_destination_health_checks_destination on destination_health_checks (destination_id, checked_at desc);
-- The cascade from a destination, and the credentials it brought.
create index idx_credentials_destination on credentials (destination_id) where destination_id is not null;

-- distribution_rules
create index idx_distribution_rules_type on distribution_rules (rule_type);
create index idx_distribution_rules_enabled on distribution_rules (enabled);
create index idx_distribution_rules_tenant on distribution_rules (tenant_id);
create index idx_distribution_rules_priority on distribution_rules (priority desc);
create index idx_distribution_rules_conditions_gin on distribution_rules using gin (conditions);

-- tenants, data_types, api_keys
create index idx_tenants_status on tenants (status);
create index idx_data_types_name on data_types (name);
-- The keys of one tenant; also the cascade from it.
create index idx_api_keys_tenant on api_keys (tenant_id);
