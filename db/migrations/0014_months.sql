-- Partitions by month. One function creates a month of all partitioned tables, another one drops it; inserts may run
-- meanwhile. The bounds are months in UTC, as ranges of ids. There is no default partition: PostgreSQL would have to
-- scan it, under a lock, for each new month.

-- The partitioned tables, parents before children: the order in which our transactions lock them.
create function partitioned_tables() returns text[]
  language sql immutable parallel safe
  begin atomic
    select array[
      'distribution_jobs', 'distribution_deliveries', 'distribution_attempts', 'attempt_logs', 'webhooks'
    ];
  end;

create function month_partition(p_table text, p_month date) returns text
  language sql immutable strict parallel safe
  begin atomic
    select p_table || '_y' || lpad(extract(year from p_month)::int::text, 4, '0')
      || 'm' || lpad(extract(month from p_month)::int::text, 2, '0');
  end;
comment on function month_partition(text, date) is 'The name of a partition, such as distribution_jobs_y2024m01';

-- The smallest id of the month that holds p_month.
create function month_floor(p_month date) returns uuid
  language sql immutable strict parallel safe
  begin atomic
    select id_floor(date_trunc('month', p_month::timestamp) at time zone 'UTC');
  end;

-- The first day of the current month in UTC, by the clock of the database.
create function this_month() returns date
  language sql stable parallel safe
  begin atomic
    select date_trunc('month', now() at time zone 'UTC')::date;
  end;

-- Takes the locks that creating or dropping a month needs, all of them together. An insert that arrives meanwhile
-- queues behind the request for a lock. So each request waits only briefly; when it fails, all locks are released and
-- the function tries again later. The month's own partitions come first and may take longer: only autovacuum holds
-- them, and it gives way after a second.
create function lock_months(p_month date default null) returns void
  language plpgsql
  set search_path = public, pg_temp
  set lock_timeout = '100ms'
as $$
declare
  v_until timestamptz := clock_timestamp() + interval '30 seconds';
  v_table text;
begin
  loop
    begin
      if p_month is not null then
        perform set_config('lock_timeout', '3s', true);
        foreach v_table in array partitioned_tables() loop
          if to_regclass(month_partition(v_table, p_month)) is not null then
            execute format('lock table only %I in access exclusive mode', month_partition(v_table, p_month));
          end if;
        end loop;
      end if;
      perform set_config('lock_timeout', '100ms', true);
      foreach v_table in array partitioned_tables() loop
        execute format('lock table only %I in access exclusive mode', v_table);
      end loop;
      return;
    exception
      when lock_not_available then
        if clock_timestamp() > v_until then
          raise;
        end if;
    end;
    perform pg_sleep(0.02 + random() * 0.1);
  end loop;
end
$$;

create function make_month(p_month date) returns boolean
  language plpgsql
  set search_path = public, pg_temp
as $$
declare
  v_table text;
  v_made boolean := false;
begin
  if not exists (
    select from unnest(partitioned_tables()) as t where to_regclass(month_partition(t, p_month)) is null
  ) then
    return false;
  end if;
  perform lock_months();
  foreach v_table in array partitioned_tables() loop
    -- Checked again: another session may have created it while this one waited for the locks.
    if to_regclass(month_partition(v_table, p_month)) is null then
      execute format(
        'create table %I partition of %I for values from (%L) to (%L)',
        month_partition(v_table, p_month), v_table,
        month_floor(p_month), month_floor((p_month + interval '1 month')::date)
      );
      v_made := true;
    end if;
  end loop;
  return v_made;
end
$$;
comment on function make_month(date) is
  'Makes the partitions of the month that holds the day; false when they were there';

create function ensure_partitions(p_months_ahead integer default 3) returns integer
  language plpgsql
  security definer
  set search_path = public, pg_temp
as $$
declare
  v_made integer := 0;
begin
  for v_ahead in 0..p_months_ahead loop
    if make_month((this_month() + make_interval(months => v_ahead))::date) then
      v_made := v_made + 1;
    end if;
  end loop;
  return v_made;
end
$$;
comment on function ensure_partitions(integer) is
  'Makes the current month and as many months ahead as asked, where missing; returns how many it made';

create function partitions_ahead() returns integer
  language plpgsql stable
  set search_path = public, pg_temp
as $$
declare
  v_ahead integer := 0;
begin
  while not exists (
    select from unnest(partitioned_tables()) as t
    where to_regclass(month_partition(t, (this_month() + make_interval(months => v_ahead))::date)) is null
  ) loop
    v_ahead := v_ahead + 1;
  end loop;
  return v_ahead - 1;
end
$$;
comment on function partitions_ahead() is
  'Whole months ahead that exist without a gap; 0 with the current month alone, -1 when even that is missing';

-- The next two are for drop_month, which runs as the owner of the tables. Row security binds the owner too, so it would
-- count and delete nothing.
create function count_open_jobs(p_from uuid, p_below uuid) returns bigint
  language sql stable security definer
  set search_path = public, pg_temp
as $$
  select count(*) from distribution_jobs
  where id >= p_from and id < p_below and status in ('pending', 'processing')
$$;

-- Deletes what refers to the distributions of a month and is in no partition. Batches that have ended leave with the
-- month in which they were created: without their distributions they would be complete with nothing in them. A batch
-- that is still open stays, without its callback, which would belong to that month.
create function forget_idempotency_keys(p_from uuid, p_below uuid) returns void
  language sql volatile security definer
  set search_path = public, pg_temp
as $$
  delete from idempotency_keys where job_id >= p_from and job_id < p_below;
  delete from batch_items where distribution_job_id >= p_from and distribution_job_id < p_below;
  delete from batch_items i using batches b
  where b.id >= p_from and b.id < p_below and b.check_at is null and i.batch_id = b.id;
  delete from batches where id >= p_from and id < p_below and check_at is null;
  update batches set callback_url = null where id >= p_from and id < p_below;
$$;

-- Drops a month with all its rows; false when there is no such month. Refuses a month that is not over or has an open
-- distribution. Inserts go on: the locks are short (lock_months), and the slow part is done before them. Partitions are
-- detached first, children before parents, because a partition that a foreign key refers to cannot be dropped.
-- Detaching checks that no attempt refers to the month any more. Without hash joins PostgreSQL does that by one scan of
-- the month's index, not by reading all attempts.
create function drop_month(p_month date) returns boolean
  language plpgsql security definer
  set search_path = public, pg_temp
  set enable_hashjoin = off
  set enable_nestloop = off
  set enable_seqscan = off
as $$
declare
  v_from constant uuid := month_floor(p_month);
  v_below constant uuid := month_floor((date_trunc('month', p_month) + interval '1 month')::date);
  v_tables text[] := partitioned_tables();
  v_open bigint;
begin
  if date_trunc('month', p_month)::date >= this_month() then
    raise exception 'Month % is not over', to_char(p_month, 'YYYY-MM') using errcode = 'object_in_use';
  end if;
  if to_regclass(month_partition('distribution_jobs', p_month)) is null then
    return false;
  end if;

  perform forget_idempotency_keys(v_from, v_below);
  perform lock_months(p_month);
  -- Counted under the locks, because a retry may open a distribution again.
  v_open := count_open_jobs(v_from, v_below);
  if v_open > 0 then
    raise exception 'Month % holds % open distributions', to_char(p_month, 'YYYY-MM'), v_open
      using errcode = 'object_in_use';
  end if;

  for i in reverse array_length(v_tables, 1)..1 loop
    execute format('alter table %I detach partition %I', v_tables[i], month_partition(v_tables[i], p_month));
    execute format('drop table %I', month_partition(v_tables[i], p_month));
  end loop;
  return true;
end
$$;

select ensure_partitions(3);
