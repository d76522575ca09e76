-- Checks every ten seconds are 8,640 rows a day for each destination: the hourly pruning finds the old ones by their ids, which
-- the primary key has, and does not read the whole table. Events that were told long ago go too.
grant delete on operator_events to distributor_system;

create or replace function forget_limits() returns void
  language sql volatile security definer
  set search_path = public, pg_temp
as $$
  delete from destination_circuits where updated_at < clock_timestamp() - interval '7 days';
  delete from rate_limits where greatest(arrival, booked) < clock_timestamp() - interval '1 day';
  delete from api_rate_limits where arrival < clock_timestamp() - interval '1 day';
  delete from destination_slots where held_until < clock_timestamp() - interval '1 day';
  delete from destination_health_checks where id < id_floor(now() - interval '30 days');
  delete from operator_events where id < id_floor(now() - interval '90 days') and status <> 'pending';
$$;
