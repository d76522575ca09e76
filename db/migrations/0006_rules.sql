-- Rules that choose destinations, shape payloads, filter, and set priorities.

-- A null tenant_id is a shared rule, which holds for every tenant.
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
  -- In the specification a name is unique over all tenants; here within its tenant.
  constraint uk_distribution_rules_tenant_name unique nulls not distinct (tenant_id, name),
  constraint fk_distribution_rules_type foreign key (rule_type) references rule_types (id),
  constraint chk_distribution_rules_rule_type
    check (rule_type in ('routing', 'transformation', 'filtering', 'prioritization')),
  constraint chk_distribution_rules_valid_conditions check (jsonb_typeof(conditions) = 'object'),
  constraint chk_distribution_rules_valid_actions check (jsonb_typeof(actions) = 'object')
);

create index idx_distribution_rules_type on distribution_rules (rule_type);
create index idx_distribution_rules_enabled on distribution_rules (enabled);
create index idx_distribution_rules_tenant on distribution_rules (tenant_id);
create index idx_distribution_rules_priority on distribution_rules (priority desc);
create index idx_distribution_rules_conditions_gin on distribution_rules using gin (conditions);

-- One row per leaf condition, written together with its rule, so that SQL can find the rules that look at a field. The
-- specification names this table without columns.
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

-- The rules that look at a field.
create index idx_rule_conditions_path on rule_conditions (tenant_id, path);

-- Load balancing: how often a rule has chosen. A table of its own, because the number changes with every distribution
-- and the rule does not; one row per tenant, because a shared rule serves many.
create table rule_turns (
  tenant_id varchar(50) not null,
  rule_id uuid not null,
  turns bigint not null default 0,
  constraint rule_turns_pkey primary key (tenant_id, rule_id),
  constraint fk_rule_turns_rule foreign key (rule_id) references distribution_rules (id) on delete cascade
) with (fillfactor = 50);

-- Row security lets no tenant write a shared rule, because it has no tenant. The API calls the three functions below
-- for the role platform.

-- Locks the rule until the end of the transaction.
create function lock_shared_rule(p_id uuid) returns void
  language sql volatile security definer
  set search_path = public, pg_temp
as $$
  select from distribution_rules where tenant_id is null and id = p_id for update
$$;

-- Creates the rule when p_id is null, otherwise replaces the rule p_id. The arrays hold its leaf conditions; null keeps
-- the present ones. Returns the id, or null when p_id is unknown or a new rule's name is taken.
create function put_shared_rule(
  p_id uuid, p_name varchar(100), p_description text, p_rule_type varchar(30), p_conditions jsonb, p_actions jsonb,
  p_priority integer, p_enabled boolean, p_paths text[], p_operators text[], p_values text[]
) returns uuid
  language plpgsql volatile security definer
  set search_path = public, pg_temp
as $$
declare
  v_id uuid;
begin
  if p_id is null then
    insert into distribution_rules
      (tenant_id, name, description, rule_type, conditions, actions, priority, enabled, created_at, updated_at)
    values (null, p_name, p_description, p_rule_type, p_conditions, p_actions, p_priority, p_enabled, clock_timestamp(),
            clock_timestamp())
    on conflict (tenant_id, name) do nothing
    returning id into v_id;
  else
    update distribution_rules
    set name = p_name, description = p_description, rule_type = p_rule_type, conditions = p_conditions,
        actions = p_actions, priority = p_priority, enabled = p_enabled, updated_at = clock_timestamp()
    where tenant_id is null and id = p_id
    returning id into v_id;
  end if;
  if v_id is not null and p_paths is not null then
    delete from rule_conditions where rule_id = v_id;
    insert into rule_conditions (tenant_id, rule_id, position, path, operator, value)
    select null, v_id, l.position, l.path, l.operator, l.value::jsonb
    from unnest(p_paths, p_operators, p_values) with ordinality as l (path, operator, value, position);
  end if;
  return v_id;
end
$$;

create function delete_shared_rule(p_id uuid) returns boolean
  language plpgsql volatile security definer
  set search_path = public, pg_temp
as $$
begin
  delete from distribution_rules where tenant_id is null and id = p_id;
  return found;
end
$$;
