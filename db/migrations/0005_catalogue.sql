-- What the seed calls catalogues: data types, and the lookups behind protocols and kinds of rules.

-- The seed has id as primary key. Data types are per tenant, plus shared ones (tenant_id null), so that the key is
-- the pair; a primary key takes no null, hence a unique constraint in which nulls are equal (PostgreSQL 15).
create table data_types (
  id varchar(50) not null,
  tenant_id varchar(50),
  name varchar(100) not null,
  description text,
  schema_definition jsonb,
  validation_rules jsonb not null default '{}',
  created_at timestamptz not null default now(),
  constraint uk_data_types_tenant_id unique nulls not distinct (tenant_id, id)
);

create table destination_types (
  id varchar(20) not null,
  name varchar(50) not null,
  description text,
  protocol varchar(20) not null,
  -- Left null for what ships: the JSON schema is served from the code, which could not drift from itself.
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

-- The seed draws rule_types without columns: a lookup with the values its check on distribution_rules allows.
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
