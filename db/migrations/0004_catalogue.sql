-- Data types, and the lookup tables of protocols and of rule types.

-- In the specification `id` alone is the primary key. A data type belongs to a tenant or, with a null tenant_id, to all
-- of them, so the key is the pair. A primary key allows no null; hence a unique constraint in which nulls are equal.
create table data_types (
  id varchar(50) not null,
  tenant_id varchar(50),
  name varchar(100) not null,
  description text,
  schema_definition jsonb,
  validation_rules jsonb not null default '{}',
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint uk_data_types_tenant_id unique nulls not distinct (tenant_id, id)
);

create index idx_data_types_name on data_types (name);

-- The protocols. `migrate` adds a row for each protocol of the program that is not here yet.
create table destination_types (
  id varchar(20) not null,
  name varchar(50) not null,
  description text,
  protocol varchar(20) not null,
  -- Null for the protocols of this service: their JSON schemas come from the code, so there is no copy to keep equal.
  config_schema jsonb,
  created_at timestamptz not null default now(),
  constraint destination_types_pkey primary key (id)
);

insert into destination_types (id, name, description, protocol) values
  ('REST', 'HTTP request', 'Sends the payload as the body of an HTTP request', 'REST'),
  ('AMQP', 'AMQP message', 'Publishes the payload to an AMQP 0-9-1 broker', 'AMQP'),
  ('JDBC', 'SQL rows', 'Writes rows into a PostgreSQL, MySQL or MariaDB table', 'JDBC'),
  ('S3', 'S3 object', 'Stores the payload as an object', 'S3'),
  ('SFTP', 'SFTP file', 'Uploads the payload as a file', 'SFTP'),
  ('EMAIL', 'E-mail', 'Sends the payload as a message', 'EMAIL');

-- The specification names this table without columns. Its rows are the values that distribution_rules allows.
create table rule_types (
  id varchar(30) not null,
  name varchar(50) not null,
  description text,
  constraint rule_types_pkey primary key (id)
);

insert into rule_types (id, name, description) values
  ('routing', 'Routing', 'Chooses destinations'),
  ('transformation', 'Transformation', 'Shapes the payload for a destination'),
  ('filtering', 'Filtering', 'Drops a distribution or a destination'),
  ('prioritization', 'Prioritization', 'Changes the priority');

-- Row security lets no tenant write a shared data type, because it has no tenant. The API calls these two functions for
-- the role platform. Both return whether a row was written.
create function put_shared_data_type(
  p_id varchar(50), p_name varchar(100), p_description text, p_schema_definition jsonb, p_validation_rules jsonb,
  p_replace boolean
) returns boolean
  language plpgsql volatile security definer
  set search_path = public, pg_temp
as $$
begin
  if p_replace then
    update data_types
    set name = p_name, description = p_description, schema_definition = p_schema_definition,
        validation_rules = p_validation_rules, updated_at = clock_timestamp()
    where tenant_id is null and id = p_id;
  else
    insert into data_types (id, tenant_id, name, description, schema_definition, validation_rules)
    values (p_id, null, p_name, p_description, p_schema_definition, p_validation_rules)
    on conflict do nothing;
  end if;
  return found;
end
$$;

create function delete_shared_data_type(p_id varchar(50)) returns boolean
  language plpgsql volatile security definer
  set search_path = public, pg_temp
as $$
begin
  delete from data_types where tenant_id is null and id = p_id;
  return found;
end
$$;
