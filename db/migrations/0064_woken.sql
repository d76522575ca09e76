-- Resuming what waits for a destination follows how fast it is taken up: a delivery that was resumed has deferred_by
-- `woken` until it is asked. What was resumed or put off in the last seconds is found by this index. `deferred_by` changes in
-- no delivery that never waited, whose updates stay HOT.
create index idx_distribution_deliveries_put_off
  on distribution_deliveries (tenant_id, deferred_target, updated_at)
  where deferred_by in ('woken', 'share', 'concurrency', 'rate_limit');
