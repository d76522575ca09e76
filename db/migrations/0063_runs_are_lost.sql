-- What the sweep's full pass does when Temporal may have lost its runs: whatever waited for a run is due again by its own
-- time, not only when the sweep would next have looked for its run.

create function bring_forward() returns void
  language sql volatile security definer
  set search_path = public, pg_temp
as $$
  update distribution_callbacks
     set check_at = coalesce(next_attempt_at, clock_timestamp())
   where status = 'pending' and check_at > coalesce(next_attempt_at, clock_timestamp());
  -- One that nobody has tried yet waits for more of its kind until its check_at.
  update operator_events
     set check_at = coalesce(next_attempt_at, clock_timestamp())
   where status = 'pending' and attempts > 0 and check_at > coalesce(next_attempt_at, clock_timestamp());
$$;

-- For whom deliveries wait that a run would let go on: their target may have recovered, or its limits have changed since
-- (`changed_at`). Over all tenants.
create function waiting_targets(p_limit integer)
  returns table (tenant_id varchar(50), target text, recovers boolean, changed_at timestamptz)
  language sql stable security definer
  set search_path = public, pg_temp
as $$
  select d.tenant_id, d.deferred_target, bool_or(d.deferred_by in ('circuit', 'disabled')),
         max(greatest(t.updated_at, r.updated_at))
           filter (where d.deferred_by in ('rate_limit', 'concurrency') and greatest(t.updated_at, r.updated_at) > d.updated_at)
  from distribution_deliveries d
  join tenants t on t.id = d.tenant_id
  left join destinations r
    on r.id = case when d.deferred_target ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then d.deferred_target::uuid end
  where d.deferred_target is not null and d.next_attempt_at > clock_timestamp() + interval '2 seconds'
  group by d.tenant_id, d.deferred_target
  limit p_limit
$$;

revoke all on function bring_forward(), waiting_targets(integer) from public;
grant execute on function bring_forward(), waiting_targets(integer) to distributor_app;
grant update (check_at) on distribution_callbacks, operator_events to distributor_system;
grant select on distribution_callbacks, operator_events, distribution_deliveries, destinations, tenants to distributor_system;
alter function bring_forward() owner to distributor_system;
alter function waiting_targets(integer) owner to distributor_system;
