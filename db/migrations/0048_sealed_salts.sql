-- The salts of masks are sealed where they stand, in the shapes of destinations and rules: the keys that they need are asked
-- for at a start as well.
create or replace function sealed_key_ids()
  returns table (key_id text)
  language sql stable security definer
  set search_path = public, pg_temp
as $$
  select split_part(sealed, '.', 2) from credentials
  union
  select split_part(callback_secret, '.', 2) from tenants where callback_secret is not null
  union
  select found[1]
    from destinations d,
         regexp_matches(d.transform_config::text, '"salt": "sealed:(?:shared:)?v1\.([A-Za-z0-9_-]+)\.', 'g') as found
   where d.transform_config ? 'mask'
  union
  select found[1]
    from distribution_rules r,
         regexp_matches(r.actions::text, '"salt": "sealed:(?:shared:)?v1\.([A-Za-z0-9_-]+)\.', 'g') as found
   where r.actions ? 'shape'
$$;
grant select on distribution_rules to distributor_system;
