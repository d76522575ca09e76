-- Registered destinations, the versions of their configuration, their health checks and their credentials.

-- The length of the longest text. A GIN index on text[] rejects an element of some kilobytes with an error about index
-- rows; a check constraint with this function rejects it by name.
create function longest_text(p_texts text[]) returns integer
  language sql immutable parallel safe
  begin atomic
    select coalesce(max(length(t)), 0) from unnest(p_texts) as t;
  end;

create table destinations (
  id uuid not null default new_uuidv7(),
  tenant_id varchar(50) not null,
  name varchar(100) not null,
  description text,
  protocol varchar(20) not null,
  status varchar(20) not null default 'active',
  status_reason text,
  configuration jsonb not null default '{}',
  transform_config jsonb not null default '{}',
  health_check_config jsonb not null default '{}',
  version integer not null default 1,
  max_retries integer,
  tags text[] not null default '{}',
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  deleted_at timestamptz,
  last_used timestamptz,
  usage_count integer not null default 0,
  health_status varchar(20) not null default 'unknown',
  last_health_check timestamptz,
  -- Null in these four: the default holds, or there is no limit.
  circuit_breaker jsonb,
  auto_disable jsonb,
  rate_limit jsonb,
  max_concurrency integer,
  constraint destinations_pkey primary key (id),
  constraint chk_destinations_status check (status in ('active', 'inactive', 'maintenance', 'deprecated')),
  constraint chk_destinations_health_status check (health_status in ('healthy', 'unhealthy', 'unknown')),
  constraint chk_destinations_valid_config check (jsonb_typeof(configuration) = 'object'),
  constraint chk_destinations_name_format check (name ~ '^[a-zA-Z0-9_-]+$'),
  constraint chk_destinations_max_retries check (max_retries between 0 and 50),
  constraint chk_destinations_tag_length check (longest_text(tags) <= 100),
  constraint chk_destinations_max_concurrency check (max_concurrency between 1 and 1000),
  -- Instead of the specification's list of six protocols, so that a new one needs no migration.
  constraint fk_destinations_type foreign key (protocol) references destination_types (id)
);

-- In the specification a name is unique over all tenants and stays taken after a deletion. Here two tenants may both
-- have a "warehouse", and the name of a deleted destination is free again.
create unique index uk_destinations_tenant_name on destinations (tenant_id, name) where deleted_at is null;
create index idx_destinations_protocol on destinations (protocol);
create index idx_destinations_status on destinations (status);
create index idx_destinations_health_status on destinations (health_status);
create index idx_destinations_last_used on destinations (last_used desc);
create index idx_destinations_tags on destinations using gin (tags);
create index idx_destinations_config_gin on destinations using gin (configuration);

-- One row per configuration that a destination has had; an attempt names the version it used. The specification names
-- this table and the next one without columns.
create table destination_configs (
  destination_id uuid not null,
  version integer not null,
  tenant_id varchar(50) not null,
  configuration jsonb not null,
  transform_config jsonb not null default '{}',
  health_check_config jsonb not null default '{}',
  created_at timestamptz not null default now(),
  created_by text,
  constraint destination_configs_pkey primary key (destination_id, version),
  constraint fk_destination_configs_destination
    foreign key (destination_id) references destinations (id) on delete cascade
);

-- One row per health check.
create table destination_health_checks (
  id uuid not null default new_uuidv7(),
  tenant_id varchar(50) not null,
  destination_id uuid not null,
  health_status varchar(20) not null,
  error_code varchar(40),
  error_message text,
  response_time_ms integer,
  checked_at timestamptz not null default now(),
  constraint destination_health_checks_pkey primary key (id),
  constraint fk_destination_health_checks_destination
    foreign key (destination_id) references destinations (id) on delete cascade,
  constraint chk_destination_health_checks_status check (health_status in ('healthy', 'unhealthy', 'unknown'))
);

-- The health history of one destination, newest first.
create index idx_destination_health_checks_destination on destination_health_checks (destination_id, checked_at desc);

-- Named secrets. `sealed` is one JSON object of text fields, sealed by db/secrets.ts. The names of its fields are kept
-- beside it, so that a list needs no key.
create table credentials (
  tenant_id varchar(50) not null,
  name varchar(150) not null,
  id uuid not null default new_uuidv7(),
  sealed text not null,
  field_names text[] not null default '{}',
  allowed_hosts text[],
  -- Set for a secret that was given as a literal with this destination; it is deleted with it.
  destination_id uuid,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  -- For a credential without allowed_hosts: the hosts of the registered destinations that use it. The API writes them
  -- when an admin registers or changes such a destination; null before that. Any other host needs allowed_hosts.
  registered_hosts text[],
  constraint credentials_pkey primary key (tenant_id, name),
  constraint uk_credentials_id unique (id),
  constraint fk_credentials_destination foreign key (destination_id) references destinations (id) on delete cascade
);

-- The cascade from a destination, and the credentials that came with it.
create index idx_credentials_destination on credentials (destination_id) where destination_id is not null;

-- The destinations with periodic health checks, and their intervals.
create function health_check_schedules()
  returns table (tenant_id varchar(50), destination_id uuid, interval_seconds integer)
  language sql stable security definer
  set search_path = public, pg_temp
as $$
  select d.tenant_id, d.id, (d.health_check_config ->> 'interval_seconds')::integer
  from destinations d
  join tenants t on t.id = d.tenant_id and t.status = 'active'
  where d.deleted_at is null and d.health_check_config @> '{"enabled": true}'
$$;
