-- Who uses the service, and with which key.
create table tenants (
  id varchar(50) not null,
  name varchar(100) not null,
  description text,
  status varchar(20) not null default 'active',
  config jsonb not null default '{}',
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  rate_limit_requests integer default 1000,
  rate_limit_window_seconds integer default 60,
  burst_limit integer default 200,
  -- Sealed (db/secrets.ts); signs this tenant's callbacks.
  callback_secret text,
  require_known_data_type boolean not null default false,
  constraint tenants_pkey primary key (id),
  constraint chk_tenants_status check (status in ('active', 'suspended', 'inactive')),
  -- The id stands in workflow ids between slashes, in metric labels and in names of settings.
  constraint chk_tenants_id_format check (id ~ '^[a-zA-Z0-9][a-zA-Z0-9_.-]*$')
);

create table api_keys (
  id uuid not null default new_uuidv7(),
  tenant_id varchar(50) not null,
  name varchar(100) not null,
  -- Only the hash: a key has 128 random bits or more, so that a slow hash would add nothing.
  key_sha256 bytea not null,
  prefix varchar(12) not null,
  role varchar(20) not null,
  created_at timestamptz not null default now(),
  last_used_at timestamptz,
  revoked_at timestamptz,
  expires_at timestamptz,
  constraint api_keys_pkey primary key (id),
  constraint uk_api_keys_key_sha256 unique (key_sha256),
  constraint fk_api_keys_tenant foreign key (tenant_id) references tenants (id) on delete cascade,
  constraint chk_api_keys_role check (role in ('viewer', 'operator', 'admin', 'platform')),
  constraint chk_api_keys_sha256_length check (octet_length(key_sha256) = 32)
);
