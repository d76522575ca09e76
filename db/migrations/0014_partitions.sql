-- Months. One function makes a month for all partitioned tables, one removes it; both are safe beside running inserts.
-- The seed's `for values from ('2024-01-01')` becomes a range of ids with the same bounds in time (UTC).
-- There is no default partition: it would have to be scanned, under lock, for every month that is added.

-- The partitioned tables, parents before children: the order in which a transaction of ours locks them.
create function partitioned_tables() returns text[]
  language sql immutable parallel safe
  begin atomic
    select array[
      'distribution_jobs', 'distribution_deliveries', 'distribution_attempts', 'attempt_logs', 'distribution_callbacks'
    ];
  end;

create function month_partition(p_table text, p_month date) returns text
  language sql immutable strict parallel safe
  begin atomic
    select p_table || '_y' || lpad(extract(year from p_month)::int::text, 4, '0')
      || 'm' || lpad(extract(month from p_month)::int::text, 2, '0');
  end;
comment on function month_partition(text, date) is 'The seed''s naming: distribution_jobs_y2024m01';

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

-- Takes the locks that adding or removing a month needs, all at once. An insert that comes meanwhile queues behind
-- this request, so each lock is asked for only briefly, given back with the others when refused, and asked for again
-- later. The month's own partitions come first and may take longer: there only autovacuum is in the way, which gives
-- up after 1 s.
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
    -- Again, for somebody else may have made it while this one waited.
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

select ensure_partitions(3);
