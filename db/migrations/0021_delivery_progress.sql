-- Some destinations can succeed in part: a mail taken for one recipient and put off for another. What an attempt leaves
-- for the next one under the same delivery_id, in its destination's own words; null when there is nothing to know.
alter table distribution_deliveries add column progress jsonb;
