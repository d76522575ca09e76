-- Extension, roles, and the rights on the database and its schema that everything else needs.

-- Only encrypt_sensitive_data and decrypt_sensitive_data use pgcrypto; random uuids and sha256 are built into
-- PostgreSQL. It is a trusted extension: the owner of the database may create it without being a superuser.
create extension if not exists pgcrypto;

-- Two roles without a login:
--   distributor_app     has all grants of the application, whose login is a member of it
--   distributor_system  owns the functions that read all tenants' rows, and the materialized views
-- Roles belong to the server, not to one database. So another database may have created them already, or an
-- administrator did where the migrating role lacks CREATEROLE.
do $$
declare
  v_role text;
begin
  foreach v_role in array array['distributor_system', 'distributor_app'] loop
    if not exists (select from pg_roles where rolname = v_role) then
      begin
        execute format('create role %I nologin', v_role);
      exception
        when duplicate_object or unique_violation then
          null; -- another database of this server is being migrated at the same moment
        when insufficient_privilege then
          raise exception 'role % is missing and % may not create it', v_role, current_user
            using hint = format('As an administrator: create role %I nologin', v_role);
      end;
    end if;
  end loop;

  -- To make distributor_system the owner of a function, the migrating role must be a member of it. Since PostgreSQL 16
  -- it also needs the options SET and INHERIT, which the creator of a role does not get. A plain grant gives all three
  -- on every version.
  if not (
    pg_has_role(current_user, 'distributor_system', 'usage')
    and pg_has_role(
      current_user,
      'distributor_system',
      case when current_setting('server_version_num')::int >= 160000 then 'set' else 'member' end
    )
  ) then
    begin
      execute format('grant distributor_system to %I', current_user);
    exception
      when insufficient_privilege then
        raise exception '% is not a member of distributor_system and may not make itself one', current_user
          using hint = format('As an administrator: grant distributor_system to %I', current_user);
    end;
  end if;
end
$$;

-- PostgreSQL requires that the new owner of an object could have created it.
grant usage, create on schema public to distributor_system;
grant usage on schema public to distributor_app;

-- `refresh materialized view concurrently` uses a temporary table. Every role may create one by default; this role gets
-- the right back where an administrator removed it.
do $$
begin
  if not has_database_privilege('distributor_system', current_database(), 'temporary') then
    execute format('grant temporary on database %I to distributor_system', current_database());
  end if;
end
$$;
