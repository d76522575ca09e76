-- What keeps a recurring distribution from being made; what each distribution was made by.
alter table recurring_distributions
  -- Why the last time made none, or why Temporal does not take the schedule; null while all is well.
  add column problem text,
  add column problem_at timestamptz;

-- One that was deleted goes once Temporal has forgotten it: it holds a payload.
grant delete on recurring_distributions to distributor_app;

alter table distribution_jobs
  -- The schedule that made it; its row may be gone.
  add column schedule_id uuid;

-- The distributions of a schedule, and those of an ordering key, newest first. No others are in it.
create index idx_distribution_jobs_schedule on distribution_jobs (tenant_id, schedule_id, id desc)
  where schedule_id is not null;
create index idx_distribution_jobs_ordering_key on distribution_jobs (tenant_id, ordering_key, id desc)
  where ordering_key is not null;
