-- The specification's encryption functions, for values of operators. The service itself does not use them: it seals its
-- secrets in the application (db/secrets.ts), because pgcrypto has no authenticated mode, and a key in a session
-- setting can get into the server's log. The key is the setting app.encryption_key, set for the transaction.
create function encrypt_sensitive_data(data text) returns text
  language plpgsql volatile strict
  set search_path = public, pg_temp
as $$
declare
  v_key text := nullif(current_setting('app.encryption_key', true), '');
begin
  if v_key is null then
    raise exception 'app.encryption_key is not set' using errcode = 'object_not_in_prerequisite_state';
  end if;
  return encode(pgp_sym_encrypt(data, v_key, 'cipher-algo=aes256'), 'base64');
end
$$;

create function decrypt_sensitive_data(data text) returns text
  language plpgsql stable strict
  set search_path = public, pg_temp
as $$
declare
  v_key text := nullif(current_setting('app.encryption_key', true), '');
begin
  if v_key is null then
    raise exception 'app.encryption_key is not set' using errcode = 'object_not_in_prerequisite_state';
  end if;
  return pgp_sym_decrypt(decode(data, 'base64'), v_key);
end
$$;

-- The ids of the sealing keys in use; the service refuses to start when one of them is not configured. The salts of
-- masks are sealed inside the shapes of destinations and rules.
create function sealed_key_ids()
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
