-- Who uses the service: tenants, their API keys, and the log of what they did.

create table tenants (
  id varchar(50) not null,
  name varchar(100) not null,
  description text,
  status varchar(20) not null default 'active',
  config jsonb not null default '{}',
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  -- Limits on requests to the API (take_api_requests).
  rate_limit_requests integer default 1000,
  rate_limit_window_seconds integer default 60,
  burst_limit integer default 200,
  -- Signs this tenant's webhooks. Sealed by db/secrets.ts.
  callback_secret text,
  require_known_data_type boolean not null default false,
  -- Limit over all deliveries of the tenant; null: none.
  delivery_rate_limit jsonb,
  -- Receives the tenant's operator events; null: they are not sent.
  event_url text,
  constraint tenants_pkey primary key (id),
  constraint chk_tenants_status check (status in ('active', 'suspended', 'inactive')),
  -- The id is part of workflow ids (between slashes), metric labels and names of settings.
  constraint chk_tenants_id_format check (id ~ '^[a-zA-Z0-9][a-zA-Z0-9_.-]*$')
);

create index idx_tenants_status on tenants (status);

create table api_keys (
  id uuid not null default new_uuidv7(),
  tenant_id varchar(50) not null,
  name varchar(100) not null,
  -- Only a hash. A plain one is enough: a key has at least 128 random bits.
  key_sha256 bytea not null,
  prefix varchar(12) not null,
  role varchar(20) not null,
  created_at timestamptz not null default now(),
  last_used_at timestamptz,
  revoked_at timestamptz,
  expires_at timestamptz,
  -- This key's own limit inside its tenant's, over the same window; null: none.
  rate_limit_requests integer,
  constraint api_keys_pkey primary key (id),
  constraint uk_api_keys_key_sha256 unique (key_sha256),
  constraint fk_api_keys_tenant foreign key (tenant_id) references tenants (id) on delete cascade,
  constraint chk_api_keys_role check (role in ('viewer', 'operator', 'admin', 'platform')),
  constraint chk_api_keys_sha256_length check (octet_length(key_sha256) = 32)
);

-- The keys of one tenant; also the cascade from it.
create index idx_api_keys_tenant on api_keys (tenant_id);

-- The specification's procedures write into audit_log without describing its columns.
create table audit_log (
  id bigint generated always as identity,
  tenant_id varchar(50) not null,
  actor text not null default 'system',
  action varchar(100) not null,
  resource_type varchar(50) not null,
  -- Text, because not every resource has a uuid.
  resource_id text not null,
  details jsonb not null default '{}',
  request_id varchar(255),
  created_at timestamptz not null default clock_timestamp(),
  constraint audit_log_pkey primary key (id)
);

-- The audit log of one tenant, newest first.
create index idx_audit_log_tenant on audit_log (tenant_id, id desc);

-- The owner of an API key. Revoked and expired keys are unknown.
create function find_api_key(p_sha256 bytea)
  returns table (id uuid, tenant_id varchar(50), role varchar(20), tenant_status varchar(20))
  language sql stable security definer
  set search_path = public, pg_temp
as $$
  select k.id, k.tenant_id, k.role, t.status
  from api_keys k
  join tenants t on t.id = k.tenant_id
  where k.key_sha256 = p_sha256
    and k.revoked_at is null
    and (k.expires_at is null or k.expires_at > now())
$$;

-- All tenants without their secrets, for the role platform.
create function list_tenants()
  returns table (
    id varchar(50), name varchar(100), description text, status varchar(20), config jsonb,
    require_known_data_type boolean, rate_limit_requests integer, rate_limit_window_seconds integer,
    burst_limit integer, delivery_rate_limit jsonb, event_url text, created_at timestamptz, updated_at timestamptz
  )
  language sql stable security definer
  set search_path = public, pg_temp
as $$
  select t.id, t.name, t.description, t.status, t.config, t.require_known_data_type, t.rate_limit_requests,
    t.rate_limit_window_seconds, t.burst_limit, t.delivery_rate_limit, t.event_url, t.created_at, t.updated_at
  from tenants t
$$;

-- The number of keys that can still administer the service, over all tenants: keys of the role platform of an active
-- tenant, not revoked and not expired. The API asks before it removes one, so that the last one stays.
create function usable_platform_keys() returns integer
  language sql volatile security definer
  set search_path = public, pg_temp
as $$
  select count(*)::integer
  from api_keys k
  join tenants t on t.id = k.tenant_id
  where k.role = 'platform'
    and t.status = 'active'
    and k.revoked_at is null
    and (k.expires_at is null or k.expires_at > now())
$$;
