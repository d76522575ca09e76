-- Each view is refreshed by itself, so that a failure of one does not hide the other; one that holds nothing yet, as after a
-- restore, is filled plainly: `concurrently` compares with what is there, and is refused.
create function refresh_view(p_name text) returns void
  language plpgsql security definer
  set search_path = public, pg_temp
as $$
declare
  v_filled boolean;
begin
  select m.ispopulated into v_filled from pg_matviews m where m.schemaname = 'public' and m.matviewname = p_name;
  if v_filled is null then
    raise exception 'there is no materialized view %', coalesce(quote_literal(p_name), 'null')
      using errcode = 'undefined_table';
  end if;
  execute format('refresh materialized view %s %I', case when v_filled then 'concurrently' end, p_name);
end
$$;
revoke all on function refresh_view(text) from public;
grant execute on function refresh_view(text) to distributor_app;
alter function refresh_view(text) owner to distributor_system;

create or replace function refresh_views() returns void
  language plpgsql security definer
  set search_path = public, pg_temp
as $$
begin
  perform refresh_view('distribution_summary_mv');
  perform refresh_view('destination_health_mv');
end
$$;
