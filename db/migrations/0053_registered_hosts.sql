-- The hosts of the registered destinations that use a credential without allowed_hosts. The API learns them when an admin
-- registers or changes such a destination; null until then. Another host needs allowed_hosts.
alter table credentials add column registered_hosts text[];
