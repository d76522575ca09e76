-- The sweep finds open jobs by check_at. A row that was inserted without the procedure had none: it stayed pending for ever,
-- past its expiry. Now the column has the default that the procedure writes, and rows that are there already are found at once.
alter table distribution_jobs alter column check_at set default clock_timestamp() + interval '60 seconds';

update distribution_jobs set check_at = clock_timestamp() where status in ('pending', 'processing') and check_at is null;
