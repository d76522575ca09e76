-- Mentioned by the seed's procedures, without columns.
create table audit_log (
  id bigint generated always as identity,
  tenant_id varchar(50) not null,
  actor text not null default 'system',
  action varchar(100) not null,
  resource_type varchar(50) not null,
  -- Text: not every resource has a uuid. The seed's inserts give one, and are cast.
  resource_id text not null,
  details jsonb not null default '{}',
  request_id varchar(255),
  created_at timestamptz not null default clock_timestamp(),
  constraint audit_log_pkey primary key (id)
);

-- The audit log of one tenant, newest first.
create index idx_audit_log_tenant on audit_log (tenant_id, id desc);

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
  constraint batches_pkey primary key (id),
  constraint chk_batches_kind check (kind in ('submit', 'retry')),
  constraint chk_batches_status check (status in ('pending', 'processing', 'completed', 'failed', 'cancelled'))
);

-- The batches of one tenant, newest first.
create index idx_batches_tenant on batches (tenant_id, id desc);
