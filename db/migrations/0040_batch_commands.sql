-- Whole batches: what was chosen for a retry is sent again once, whoever else retries it; batches leave with their month.

-- Of a retry: the round that failed. When the distribution has been sent again meanwhile, by hand or by another batch, the
-- item is skipped. Null: not noted.
alter table batch_items add column round integer;

grant delete on batches to distributor_system;

-- Changed: batches that have ended leave with the month in which they were made. Without their distributions they would
-- say that all of nothing is complete.
create or replace function forget_idempotency_keys(p_from uuid, p_below uuid) returns void
  language sql volatile security definer
  set search_path = public, pg_temp
as $$
  delete from idempotency_keys where job_id >= p_from and job_id < p_below;
  delete from batch_items where distribution_job_id >= p_from and distribution_job_id < p_below;
  delete from batch_items i using batches b
  where b.id >= p_from and b.id < p_below and b.check_at is null and i.batch_id = b.id;
  delete from batches where id >= p_from and id < p_below and check_at is null;
$$;
