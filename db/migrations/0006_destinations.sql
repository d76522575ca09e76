-- Registered destinations, their configuration versions, their health checks, and the credentials they refer to.

-- Longest element of a list of texts: a GIN index on text[] refuses elements of some kilobytes with an error about
-- index rows; a check refuses them by name instead.
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
  constraint destinations_pkey primary key (id),
  constraint chk_destinations_protocol check (protocol in ('REST', 'AMQP', 'JDBC', 'S3', 'SFTP', 'EMAIL')),
  constraint chk_destinations_status check (status in ('active', 'inactive', 'maintenance', 'deprecated')),
  constraint chk_destinations_health_status check (health_status in ('healthy', 'unhealthy', 'unknown')),
  constraint chk_destinations_valid_config check (jsonb_typeof(configuration) = 'object'),
  constraint chk_destinations_name_format check (name ~ '^[a-zA-Z0-9_-]+$'),
  constraint chk_destinations_max_retries check (max_retries between 0 and 50),
  constraint chk_destinations_tag_length check (longest_text(tags) <= 100)
);

-- The seed's name is unique over everything, so that two tenants could not both have a "warehouse", and a deleted name
-- never came back. Unique within the tenant, among what is not deleted.
create unique index uk_destinations_tenant_name on destinations (tenant_id, name) where deleted_at is null;

-- Drawn by the seed without columns: one row per configuration a destination ever had. An attempt names its version.
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

-- Drawn by the seed without columns: one row per probe.
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

-- Named secrets. sealed is one JSON object of string fields, sealed by db/secrets.ts; the names of its fields stand
-- beside it so that a listing needs no key.
create table credentials (
  tenant_id varchar(50) not null,
  name varchar(150) not null,
  id uuid not null default new_uuidv7(),
  sealed text not null,
  field_names text[] not null default '{}',
  allowed_hosts text[],
  -- Set for what was a literal at registration: it goes when the destination goes.
  destination_id uuid,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint credentials_pkey primary key (tenant_id, name),
  constraint uk_credentials_id unique (id),
  constraint fk_credentials_destination foreign key (destination_id) references destinations (id) on delete cascade
);
