-- Many distributions under one name: submitted together, or sent again together.

-- Which distributions belong to a batch, in the order of the request. Of a submission also those that an idempotency key
-- led to an earlier distribution, so that one of them may stand in several batches. Without foreign keys: 10,000 rows are
-- written together with what they refer to, and months leave whole (forget_idempotency_keys).
create table batch_items (
  batch_id uuid not null,
  position integer not null,
  tenant_id varchar(50) not null,
  distribution_job_id uuid not null,
  -- waiting: the batch has not come to it; started: the rest is the distribution's own; skipped: there was nothing to
  -- retry, and reason says why.
  state varchar(20) not null default 'waiting',
  reason text,
  constraint batch_items_pkey primary key (batch_id, position),
  constraint chk_batch_items_state check (state in ('waiting', 'started', 'skipped'))
);

-- What a batch has still to start, in order.
create index idx_batch_items_waiting on batch_items (batch_id, position) where state = 'waiting';
-- For drop_month: the items of a month's jobs.
create index idx_batch_items_job on batch_items (distribution_job_id);

alter table batches
  -- What was not accepted: [{index, details}].
  add column rejected jsonb not null default '[]',
  -- Why the rest was cancelled (fail_fast).
  add column cancel_reason varchar(500),
  add column request_id varchar(255),
  add column actor text not null default 'system',
  -- When the sweep should look whether a run still serves this row; null once nothing is left to do.
  add column check_at timestamptz,
  -- batch.completed: the text that is sent, as it was when the batch ended, and how its sending stands.
  add column callback_body text,
  add column callback_status varchar(20),
  add column callback_attempts integer not null default 0,
  add column callback_response_status integer,
  add column callback_error_code varchar(40),
  add column callback_error_message text,
  add constraint chk_batches_callback_status check (callback_status in ('pending', 'success', 'failed'));

-- The sweep: batches with work left.
create index idx_batches_check_at on batches (check_at) where check_at is not null;

alter table batch_items enable row level security;
alter table batch_items force row level security;
create policy batch_items_tenant_policy on batch_items for all
  using (tenant_id = nullif(current_setting('app.tenant_id', true), ''))
  with check (tenant_id = nullif(current_setting('app.tenant_id', true), ''));
create policy batch_items_system_policy on batch_items for all to distributor_system using (true) with check (true);
grant select, insert, update on batch_items to distributor_app;
grant select on batches to distributor_system;
grant select, delete on batch_items to distributor_system;

-- Changed: a job whose check_at is infinity waits for its batch, and has no run on purpose.
create or replace function due_jobs(p_limit integer, p_all boolean default false, p_after uuid default null)
  returns table (
    tenant_id varchar(50), distribution_id varchar(100), id uuid, data_type varchar(50), priority varchar(10),
    status varchar(20), cancel_requested boolean, round integer, sweep_starts integer
  )
  language plpgsql stable security definer
  set search_path = public, pg_temp
as $$
begin
  if p_all then
    return query
      select j.tenant_id, j.distribution_id, j.id, j.data_type, j.priority, j.status, j.cancel_requested_at is not null,
        j.round, j.sweep_starts
      from distribution_jobs j
      where j.status in ('pending', 'processing')
        and j.check_at is distinct from 'infinity'
        and (p_after is null or (j.id > p_after and j.created_at >= id_time(p_after)))
      order by j.created_at, j.id
      limit p_limit;
  else
    return query
      select j.tenant_id, j.distribution_id, j.id, j.data_type, j.priority, j.status, j.cancel_requested_at is not null,
        j.round, j.sweep_starts
      from distribution_jobs j
      where j.status in ('pending', 'processing')
        and j.check_at <= clock_timestamp()
      order by j.check_at
      limit p_limit;
  end if;
end
$$;

-- Batches with work left that the sweep should look at: those whose check_at has come, or with p_all every one. By id,
-- those after p_after.
create function due_batches(p_limit integer, p_all boolean default false, p_after uuid default null)
  returns table (tenant_id varchar(50), id uuid)
  language sql stable security definer
  set search_path = public, pg_temp
as $$
  select b.tenant_id, b.id
  from batches b
  where b.check_at is not null
    and (p_all or b.check_at <= clock_timestamp())
    and (p_after is null or b.id > p_after)
  order by b.id
  limit p_limit
$$;
revoke all on function due_batches(integer, boolean, uuid) from public;
grant execute on function due_batches(integer, boolean, uuid) to distributor_app;
alter function due_batches(integer, boolean, uuid) owner to distributor_system;

-- Changed: a month takes its places in batches along.
create or replace function forget_idempotency_keys(p_from uuid, p_below uuid) returns void
  language sql volatile security definer
  set search_path = public, pg_temp
as $$
  delete from idempotency_keys where job_id >= p_from and job_id < p_below;
  delete from batch_items where distribution_job_id >= p_from and distribution_job_id < p_below;
$$;
