-- Batches: many distributions that are submitted together, or retried together.

create table batches (
  id uuid not null default new_uuidv7(),
  tenant_id varchar(50) not null,
  kind varchar(20) not null,
  status varchar(20) not null default 'processing',
  total_distributions integer not null default 0,
  options jsonb not null default '{}',
  callback_url text,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  completed_at timestamptz,
  -- The distributions that were not accepted: [{index, details}].
  rejected jsonb not null default '[]',
  -- Why the rest was cancelled (fail_fast).
  cancel_reason varchar(500),
  request_id varchar(255),
  actor text not null default 'system',
  -- When the sweep checks that a workflow runs for this row; null when it has ended.
  check_at timestamptz,
  constraint batches_pkey primary key (id),
  constraint chk_batches_kind check (kind in ('submit', 'retry')),
  constraint chk_batches_status check (status in ('pending', 'processing', 'completed', 'failed', 'cancelled'))
);

-- The batches of one tenant, newest first.
create index idx_batches_tenant on batches (tenant_id, id desc);
-- The sweep: batches with work left.
create index idx_batches_check_at on batches (check_at) where check_at is not null;

-- The distributions of a batch, in the order of the request. A submission that repeats an idempotency key names the
-- earlier distribution, so one distribution may be in several batches. No foreign keys: 10,000 rows are written
-- together with the rows that they refer to, and drop_month deletes the items of a month.
create table batch_items (
  batch_id uuid not null,
  position integer not null,
  tenant_id varchar(50) not null,
  distribution_job_id uuid not null,
  -- waiting: not started yet; started: the distribution's own state holds; skipped: there was nothing to retry, for the
  -- reason in `reason`.
  state varchar(20) not null default 'waiting',
  reason text,
  -- Of a retry: the round that failed. The item is skipped when the distribution has been retried meanwhile, by hand or
  -- by another batch. Null: not recorded.
  round integer,
  constraint batch_items_pkey primary key (batch_id, position),
  constraint chk_batch_items_state check (state in ('waiting', 'started', 'skipped'))
);

-- The waiting items of a batch, in order.
create index idx_batch_items_waiting on batch_items (batch_id, position) where state = 'waiting';
-- drop_month: the items of the distributions of one month.
create index idx_batch_items_job on batch_items (distribution_job_id);
