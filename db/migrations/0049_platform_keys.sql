-- How many keys can still administer the service: keys of the role platform that are not revoked or expired, of tenants that
-- are active. Asked before the last of them goes, over all tenants.
create function usable_platform_keys() returns integer
  language sql volatile security definer
  set search_path = public, pg_temp
as $$
  select count(*)::integer
  from api_keys k
  join tenants t on t.id = k.tenant_id
  where k.role = 'platform'
    and t.status = 'active'
    and k.revoked_at is null
    and (k.expires_at is null or k.expires_at > now())
$$;
revoke all on function usable_platform_keys() from public;
grant execute on function usable_platform_keys() to distributor_app;
alter function usable_platform_keys() owner to distributor_system;
