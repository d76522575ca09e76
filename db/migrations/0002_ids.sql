-- Ids are UUIDv7 (RFC 9562). They begin with the milliseconds since 1970, so a range of time is a range of ids, and
-- tables can be partitioned by month through their id. The specification's gen_random_uuid() cannot do that.
-- PostgreSQL 18 has uuidv7() and 15 has not; this implementation serves both.

-- The 12 bits after the version hold the fraction of the millisecond (RFC 9562, section 6.2, method 3). So ids that one
-- session creates one after another sort in that order.
create function new_uuidv7() returns uuid
  language sql volatile parallel safe
  begin atomic
    select encode(
      overlay(
        uuid_send(gen_random_uuid())
        placing
          substring(int8send(us / 1000) from 3)
          || substring(int4send((28672 + (us % 1000) * 4096 / 1000)::int) from 3)
        from 1 for 8
      ),
      'hex'
    )::uuid
    from (select (extract(epoch from clock_timestamp()) * 1000000)::bigint as us) as clock;
  end;
comment on function new_uuidv7() is 'A new UUIDv7 by the clock of the database';

-- Declared immutable although extract() is only stable: the epoch of a timestamptz does not depend on the time zone.
-- An immutable function is computed at planning, where the planner then skips the other partitions.
create function id_floor(p_time timestamptz) returns uuid
  language sql immutable strict parallel safe
  begin atomic
    select (
      encode(substring(int8send(floor(extract(epoch from p_time) * 1000)::bigint) from 3), 'hex')
      || '70008000000000000000'
    )::uuid;
  end;
comment on function id_floor(timestamptz) is
  'The smallest UUIDv7 of the millisecond that holds p_time: from <= created_at implies id >= id_floor(from)';

create function id_time(p_id uuid) returns timestamptz
  language sql immutable strict parallel safe
  begin atomic
    select to_timestamp(
      (('x' || encode(substring(uuid_send(p_id) from 1 for 6), 'hex'))::bit(48)::bigint / 1000.0)::double precision
    );
  end;
comment on function id_time(uuid) is 'The moment a UUIDv7 was made, to the millisecond';
