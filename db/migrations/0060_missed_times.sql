-- Times of a schedule that made nothing, so that none is lost without a word.
alter table recurring_distributions
  -- Times up to here were made, or are named in `missed`, or were not asked for (before it was made, changed or resumed).
  add column accounted_at timestamptz not null default clock_timestamp(),
  -- {count, first, last, times, reason, at, told_at}; null while none was missed since the schedule was changed or resumed.
  add column missed jsonb,
  -- A year, as Temporal's own; how many are made up at once is bounded by the service.
  alter column catchup_seconds set default 31536000;

-- Temporal is told again: the times of a schedule of every hour, and how far back they are made up, are put otherwise.
update recurring_distributions set check_at = clock_timestamp() where deleted_at is null and check_at is null;
