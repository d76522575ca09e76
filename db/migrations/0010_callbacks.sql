-- Drawn by the seed without columns: one callback per time a job becomes final.
create table distribution_callbacks (
  distribution_job_id uuid not null,
  round integer not null,
  tenant_id varchar(50) not null,
  event_type varchar(40) not null,
  callback_url text not null,
  -- What is sent, as it was when the job became final: a repeat, or a retry of the job meanwhile, changes no byte of
  -- it.
  body text not null,
  status varchar(20) not null default 'pending',
  attempts integer not null default 0,
  next_attempt_at timestamptz,
  response_status integer,
  error_code varchar(40),
  error_message text,
  created_at timestamptz not null default clock_timestamp(),
  completed_at timestamptz,
  -- When the sweep should look whether a run still serves this row.
  check_at timestamptz,
  constraint distribution_callbacks_pkey primary key (distribution_job_id, round),
  constraint fk_distribution_callbacks_job
    foreign key (distribution_job_id) references distribution_jobs (id) on delete cascade,
  constraint chk_distribution_callbacks_status check (status in ('pending', 'success', 'failed'))
) partition by range (distribution_job_id);
