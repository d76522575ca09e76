-- pgcrypto is a trusted extension: the owner of the database may create it without being superuser.
-- Random uuids and sha256 are built in since PostgreSQL 13; pgcrypto serves encrypt_sensitive_data alone (0017).
create extension if not exists pgcrypto;
