-- Deliveries that were put off can be woken: when a circuit closes, or a destination is enabled.
alter table distribution_deliveries
  -- Why it waits without an attempt; null when it waits for another reason, such as the delay after a failure.
  add column deferred_by varchar(20),
  -- How often it was woken: who began to wait before that has nothing to say any more.
  add column wakes integer not null default 0;

-- Those that wait for one target, oldest first.
create index idx_distribution_deliveries_deferred
  on distribution_deliveries (tenant_id, (coalesce(target, destination_id::text)), distribution_job_id)
  where status = 'waiting' and deferred_by is not null;
