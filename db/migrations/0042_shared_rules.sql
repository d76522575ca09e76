-- A shared rule has no tenant, so that row security lets no tenant write it. The API lets the role platform call these.

-- Until the transaction ends nobody else changes it.
create function lock_shared_rule(p_id uuid) returns void
  language sql volatile security definer
  set search_path = public, pg_temp
as $$
  select from distribution_rules where tenant_id is null and id = p_id for update
$$;

-- A new one when p_id is null, else another content of that one. Leaf conditions null: they are what they were. Answers
-- its id, or null where there is none of this id, or one of this name already.
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

grant select, insert, update, delete on distribution_rules, rule_conditions to distributor_system;

revoke all on function
  lock_shared_rule(uuid),
  put_shared_rule(uuid, varchar, text, varchar, jsonb, jsonb, integer, boolean, text[], text[], text[]),
  delete_shared_rule(uuid)
  from public;
grant execute on function
  lock_shared_rule(uuid),
  put_shared_rule(uuid, varchar, text, varchar, jsonb, jsonb, integer, boolean, text[], text[], text[]),
  delete_shared_rule(uuid)
  to distributor_app;
alter function lock_shared_rule(uuid) owner to distributor_system;
alter function put_shared_rule(uuid, varchar, text, varchar, jsonb, jsonb, integer, boolean, text[], text[], text[])
  owner to distributor_system;
alter function delete_shared_rule(uuid) owner to distributor_system;
