-- A delivery of a failover group that another rule sends in any case: a success of the group is not one of that rule.
alter table distribution_deliveries add column required boolean not null default false;
