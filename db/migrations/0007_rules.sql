-- Rules that choose, shape, filter and order. tenant_id stays nullable as the seed has it: null serves every tenant.
create table distribution_rules (
  id uuid not null default new_uuidv7(),
  tenant_id varchar(50),
  name varchar(100) not null,
  description text,
  rule_type varchar(30) not null,
  conditions jsonb not null default '{}',
  actions jsonb not null default '{}',
  priority integer not null default 0,
  enabled boolean not null default true,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint distribution_rules_pkey primary key (id),
  -- The seed's name is unique over everything; names of one tenant must not be another's concern.
  constraint uk_distribution_rules_tenant_name unique nulls not distinct (tenant_id, name),
  constraint fk_distribution_rules_type foreign key (rule_type) references rule_types (id),
  constraint chk_distribution_rules_rule_type
    check (rule_type in ('routing', 'transformation', 'filtering', 'prioritization')),
  constraint chk_distribution_rules_valid_conditions check (jsonb_typeof(conditions) = 'object'),
  constraint chk_distribution_rules_valid_actions check (jsonb_typeof(actions) = 'object')
);

-- Drawn by the seed without columns: one row per leaf condition, written together with its rule, so that SQL can ask
-- which rules look at a field.
create table rule_conditions (
  id uuid not null default new_uuidv7(),
  tenant_id varchar(50),
  rule_id uuid not null,
  position integer not null,
  path text not null,
  operator varchar(50) not null,
  value jsonb,
  constraint rule_conditions_pkey primary key (id),
  constraint uk_rule_conditions_position unique (rule_id, position),
  constraint fk_rule_conditions_rule foreign key (rule_id) references distribution_rules (id) on delete cascade
);
