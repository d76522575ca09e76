-- Two roles that nobody logs in as. Roles belong to the server, not to the database, so that another database of the
-- same server may have made them already, or an administrator did where the migrating role has no CREATEROLE.
--   distributor_app     receives every grant; the application's login is a member of it
--   distributor_system  owns the functions that look across tenants, and the materialized views
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

  -- Giving a function to distributor_system needs membership. Since PostgreSQL 16 membership alone is not enough
  -- (whoever creates a role gets it with the SET and INHERIT options off); a plain grant turns both on, and is what
  -- 15 needs.
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

-- PostgreSQL asks of a new owner that it could have created the object itself.
grant usage, create on schema public to distributor_system;
grant usage on schema public to distributor_app;

-- refresh materialized view concurrently builds its difference in a temporary table. Every role may by default; where
-- an administrator took that away, it is given back to this one.
do $$
begin
  if not has_database_privilege('distributor_system', current_database(), 'temporary') then
    execute format('grant temporary on database %I to distributor_system', current_database());
  end if;
end
$$;
