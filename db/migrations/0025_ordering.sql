-- ordering_key: distributions of one key go to one destination one after another, in the order of their acceptance.

alter table distribution_jobs
  -- The place in the order of acceptance; null without an ordering_key.
  add column ordering_seq bigint,
  -- A failure of this one holds up those behind it, until a retry succeeds or is cancelled.
  add column ordering_blocks boolean not null default false;

-- As the job's, for a delivery asks for its predecessors on every attempt.
alter table distribution_deliveries
  add column ordering_key varchar(255),
  add column ordering_seq bigint,
  add column ordering_blocks boolean not null default false;

create sequence distribution_ordering;
grant usage on sequence distribution_ordering to distributor_app;

-- Earlier jobs of a key whose plan is not made: nobody knows yet where they go.
create index idx_distribution_jobs_ordering on distribution_jobs (tenant_id, ordering_key, ordering_seq)
  where ordering_key is not null and planned_at is null and status in ('pending', 'processing');
-- What stands in the way of a delivery, and who is next. Finished ones are not in it, so that a key which has been used a
-- million times costs no more than a new one.
create index idx_distribution_deliveries_ordering
  on distribution_deliveries (tenant_id, ordering_key, destination_name, ordering_seq)
  where ordering_key is not null
    and (status in ('pending', 'processing', 'waiting') or (status = 'failed' and ordering_blocks));

-- Gives new jobs their places, in the order given. The lock is held to the end of the transaction, and the number is
-- taken under it: whoever sees a number sees every smaller one of its key as well. A lock stands for many keys, for a
-- transaction may have 10,000 of them and the server's table of locks is bounded. They are taken in one order, so that
-- two requests wait for each other instead of dying.
create function order_distributions(p_tenant_id varchar(50), p_ids uuid[], p_keys text[], p_blocks boolean[])
  returns void
  language plpgsql
  set search_path = public, pg_temp
as $$
begin
  perform pg_advisory_xact_lock(l.lock)
  from (
    select distinct hashtextextended(
      'ordering ' || p_tenant_id || ' ' || abs(hashtextextended(k.key, 1) % 128)::text, 0
    ) as lock
    from unnest(p_keys) as k (key)
    order by 1
  ) l;

  with given as materialized (
    select g.id, g.key, g.blocks
    from unnest(p_ids, p_keys, p_blocks) with ordinality as g (id, key, blocks, position)
    order by g.position
  ),
  numbered as materialized (
    select given.*, nextval('distribution_ordering') as seq from given
  )
  update distribution_jobs j
  set ordering_key = n.key, ordering_seq = n.seq, ordering_blocks = n.blocks
  from numbered n
  where j.id = n.id;
end
$$;
