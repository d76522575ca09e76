-- What a delivery under an ordering key is to those behind it, and the target that it was put off for, in columns of their
-- own. Null for nearly all, whose updates then change nothing that an index goes by: with `status` in an index's predicate no
-- update of any delivery was a HOT one, and an unordered delivery wrote 1196 bytes of WAL from plan to success; now all are,
-- and it writes 837 (measured).
alter table distribution_deliveries
  add column ordering_state text generated always as (
    case when ordering_key is null then null
         when status = 'processing' then 'sending'
         -- It has looked, and others come first. Everything else that waits has a time.
         when status = 'waiting' and next_attempt_at is null then 'held'
         when status in ('pending', 'waiting') then 'open'
         when status = 'failed' and ordering_blocks then 'blocking'
    end) stored,
  add column deferred_target text generated always as (
    case when status = 'waiting' and deferred_by is not null then coalesce(target, destination_id::text) end) stored;

drop index idx_distribution_deliveries_deferred;
-- Those that wait for one target, oldest first.
create index idx_distribution_deliveries_deferred on distribution_deliveries (tenant_id, deferred_target, distribution_job_id)
  where deferred_target is not null;

drop index idx_distribution_deliveries_ordering;
-- What stands in the way of a delivery, and who is next. Finished ones are not in it, so that a key which has been used a
-- million times costs no more than a new one.
create index idx_distribution_deliveries_ordering
  on distribution_deliveries (tenant_id, ordering_key, destination_name, ordering_seq)
  where ordering_state is not null;
-- The one of a key that is being sent, behind which ten thousand may be held.
create index idx_distribution_deliveries_sending
  on distribution_deliveries (tenant_id, ordering_key, destination_name, ordering_seq)
  where ordering_state = 'sending';
-- The sweep's: the first that is held of each key.
create index idx_distribution_deliveries_held
  on distribution_deliveries (tenant_id, ordering_key, destination_name, ordering_seq)
  where ordering_state = 'held';

-- Held deliveries in whose way nothing stands any more, over all tenants: the word that it is their turn was lost. The first
-- of each key and destination, those behind (p_tenant_id, p_key, p_destination), in that order. It goes from one key to the
-- next by the index, however many are held under each. What has looked just now is left out: its word may be under way.
create function due_turns(
  p_limit integer, p_tenant_id varchar default null, p_key varchar default null, p_destination varchar default null
)
  returns table (tenant_id varchar(50), ordering_key varchar(255), destination_name varchar(100), distribution_job_id uuid)
  language sql stable security definer
  set search_path = public, pg_temp
as $$
  with recursive heads as (
    (select d.tenant_id, d.ordering_key, d.destination_name, d.ordering_seq, d.distribution_job_id, d.updated_at
       from distribution_deliveries d
      where d.ordering_state = 'held'
        and (p_tenant_id is null
             or (d.tenant_id, d.ordering_key, d.destination_name) > (p_tenant_id, p_key, p_destination))
      order by d.tenant_id, d.ordering_key, d.destination_name, d.ordering_seq
      limit 1)
    union all
    select n.*
      from heads h
     cross join lateral (
       select d.tenant_id, d.ordering_key, d.destination_name, d.ordering_seq, d.distribution_job_id, d.updated_at
         from distribution_deliveries d
        where d.ordering_state = 'held'
          and (d.tenant_id, d.ordering_key, d.destination_name) > (h.tenant_id, h.ordering_key, h.destination_name)
        order by d.tenant_id, d.ordering_key, d.destination_name, d.ordering_seq
        limit 1) n
  )
  select h.tenant_id, h.ordering_key, h.destination_name, h.distribution_job_id
    from heads h
   where h.updated_at < clock_timestamp() - interval '2 seconds'
     -- Three probes of an index each, and never a join, which might read all of the table.
     and (select true from distribution_deliveries d
           where d.tenant_id = h.tenant_id and d.ordering_key = h.ordering_key and d.destination_name = h.destination_name
             and d.ordering_state is not null and d.ordering_seq < h.ordering_seq
           limit 1) is null
     and (select true from distribution_deliveries d
           where d.tenant_id = h.tenant_id and d.ordering_key = h.ordering_key and d.destination_name = h.destination_name
             and d.ordering_state = 'sending' and d.ordering_seq > h.ordering_seq
           limit 1) is null
     and (select true from distribution_jobs j
           where j.tenant_id = h.tenant_id and j.ordering_key = h.ordering_key and j.planned_at is null
             and j.status in ('pending', 'processing') and j.ordering_seq < h.ordering_seq
           limit 1) is null
   order by h.tenant_id, h.ordering_key, h.destination_name
   limit p_limit
$$;

revoke all on function due_turns(integer, varchar, varchar, varchar) from public;
grant execute on function due_turns(integer, varchar, varchar, varchar) to distributor_app;
alter function due_turns(integer, varchar, varchar, varchar) owner to distributor_system;
