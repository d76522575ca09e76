-- The catalogue of data types over the API.
alter table data_types add column updated_at timestamptz not null default now();

-- A shared data type has no tenant, so that row security lets no tenant write it. The API lets the role platform call these.
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

grant select, insert, update, delete on data_types to distributor_system;

revoke all on function
  put_shared_data_type(varchar, varchar, text, jsonb, jsonb, boolean), delete_shared_data_type(varchar)
  from public;
grant execute on function
  put_shared_data_type(varchar, varchar, text, jsonb, jsonb, boolean), delete_shared_data_type(varchar)
  to distributor_app;
alter function put_shared_data_type(varchar, varchar, text, jsonb, jsonb, boolean) owner to distributor_system;
alter function delete_shared_data_type(varchar) owner to distributor_system;
