-- What rules leave with a delivery, and whose turn it is.
alter table distribution_deliveries
  -- A rule's transform_config; null: the destination's own counts.
  add column shape jsonb,
  -- Deliveries of one group serve one purpose: one success is enough. Null: on its own.
  add column failover_group integer,
  -- Open, and not to be sent until those before it in its group have failed for good.
  add column standby boolean not null default false;

-- Set when a rule changed the priority: what the submission said.
alter table distribution_jobs add column submitted_priority varchar(10);

-- Load balance: how often a rule has chosen. A row of its own, for it changes with every distribution and the rule does
-- not; per tenant, for a shared rule serves many.
create table rule_turns (
  tenant_id varchar(50) not null,
  rule_id uuid not null,
  turns bigint not null default 0,
  constraint rule_turns_pkey primary key (tenant_id, rule_id),
  constraint fk_rule_turns_rule foreign key (rule_id) references distribution_rules (id) on delete cascade
) with (fillfactor = 50);

alter table rule_turns enable row level security;
alter table rule_turns force row level security;
create policy rule_turns_tenant_policy on rule_turns for all
  using (tenant_id = nullif(current_setting('app.tenant_id', true), ''))
  with check (tenant_id = nullif(current_setting('app.tenant_id', true), ''));
create policy rule_turns_system_policy on rule_turns for all to distributor_system using (true) with check (true);
grant select, insert, update on rule_turns to distributor_app;

-- Least failing: the last attempts of one destination.
create index idx_distribution_attempts_recent
  on distribution_attempts (tenant_id, destination_name, started_at desc);
-- Which rules look at a field.
create index idx_rule_conditions_path on rule_conditions (tenant_id, path);
