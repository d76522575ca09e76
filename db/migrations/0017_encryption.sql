-- The seed's encryption functions, for operators' own values. Distributor's secrets are sealed in the application
-- (db/secrets.ts): pgcrypto has no authenticated mode, and a key in a session setting can end up in the server's log.
-- The key comes from the setting app.encryption_key, set for the transaction.
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
