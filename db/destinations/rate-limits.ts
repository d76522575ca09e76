// Rate limits of deliveries, by the generic cell rate algorithm (GCRA). A row holds the theoretical arrival time: when the
// next delivery would arrive if all came at equal distances. One statement checks all limits and makes the reservation.
import type { Db } from '../pool.ts'

/** `requests` per `per_seconds`, spread evenly; `burst` more may come at once. */
export interface RateLimit {
  requests: number
  per_seconds: number
  burst?: number | undefined
}

export interface AskedLimit {
  /** `destination/<target>` or `deliveries`. */
  scope: string
  limit: RateLimit
}

export interface Reservation {
  /** False: the limit is reached, and nothing was reserved. */
  go: boolean
  /** Milliseconds. With `go`: how long to delay the send. Otherwise: when to ask again. */
  wait_ms: number
}

/** The longest wait until the next request. Deliveries that would wait longer get a random time and no order. */
const LONGEST_WAIT_MS = 900_000
/** A reservation this near is made at once and the send is delayed, so that the delivery need not ask again. */
const MAX_SEND_DELAY_MS = 500

/**
 * The distance between two reservations, in milliseconds. Deliveries that leave at equal distances arrive at unequal
 * ones, because the network delays each differently. So 250 ms and 5 % of the window stay free: then no window of
 * `per_seconds` at the receiver has more than `requests` and the burst.
 */
export function distanceMs(limit: RateLimit): number {
  return (limit.per_seconds * 1000 + slackMs(limit)) / limit.requests
}

/** How much later than its reservation a delivery may arrive, shaping and network included. */
export function slackMs({ per_seconds }: RateLimit): number {
  const window = per_seconds * 1000
  return Math.min(window, 250 + 0.05 * window)
}

/**
 * Makes a reservation under all limits, or under none if one of them is reached. A denied delivery gets a time behind the
 * deliveries that were denied before, so that thousands do not ask again at the same moment. A delivery that asks for the
 * first time (`askedBefore` false) also queues behind them. A changed limit applies at once: reservations and wait times
 * from before the change count for at most the whole burst of the new limit.
 */
export async function takeReservation(
  db: Db,
  tenantId: string,
  asked: AskedLimit[],
  askedBefore: boolean,
): Promise<Reservation> {
  for (;;) {
    const made = await tryReservation(db, tenantId, asked, askedBefore)
    if (made) return made.wait_ms < LONGEST_WAIT_MS - 1 ? made : { ...made, wait_ms: spread(LONGEST_WAIT_MS) }
    await db.query(`insert into rate_limits (tenant_id, scope) select $1, unnest($2::text[]) on conflict do nothing`, [
      tenantId,
      asked.map(({ scope }) => scope),
    ])
  }
}

function spread(ms: number): number {
  return ms * (0.5 + Math.random() / 2)
}

/** Null when a row is missing. */
async function tryReservation(
  db: Db,
  tenantId: string,
  asked: AskedLimit[],
  askedBefore: boolean,
): Promise<Reservation | null> {
  const distances = asked.map(({ limit }) => distanceMs(limit))
  const { rows } = await db.query<Reservation>(
    `with asked as (
       select scope, distance as distance_ms, distance * interval '1 millisecond' as distance,
              room * interval '1 millisecond' as room,
              send_delay * interval '1 millisecond' as send_delay, position
         from unnest($2::text[], $3::float8[], $4::float8[], $5::float8[])
              with ordinality as a (scope, distance, room, send_delay, position)),
     held as materialized (
       select l.scope, l.arrival, a.distance_ms, a.distance, a.room, a.send_delay,
              case when l.distance_ms = a.distance_ms then l.booked else '-infinity' end as booked
         from asked a join rate_limits l on l.tenant_id = $1 and l.scope = a.scope
        order by a.position
          for update of l),
     -- The time is read after all locks are taken.
     clock as materialized (select clock_timestamp() as now, count(*) as scopes from held),
     slots as materialized (
       select h.scope, h.distance_ms, h.distance, h.send_delay, h.booked, b.arrival, c.now, c.scopes,
              -- At once, or when the burst is no longer used up.
              greatest(c.now, b.arrival + h.distance - h.room) as starts_at,
              $6::bool or h.booked <= c.now as first
         from held h cross join clock c
        -- No reservation under the present limit sets a later arrival; one under an older limit may have.
        cross join lateral (select least(h.arrival, c.now + $8 * interval '1 millisecond' + h.room) as arrival) b),
     answer as materialized (
       select now, bool_and(first and starts_at <= now + send_delay) as go, max(starts_at) as starts_at, scopes from slots group by now, scopes),
     taken as (
       update rate_limits l
          -- Counted from the time of the send, which another limit may delay.
          set arrival = case when a.go then greatest(s.arrival, a.starts_at) + s.distance else s.arrival end,
              distance_ms = s.distance_ms,
              booked = case when a.go or (s.first and s.starts_at <= s.now + s.send_delay) then s.booked
                            else least(greatest(s.booked + s.distance, s.starts_at), s.now + $7 * interval '1 millisecond') end
         from slots s cross join answer a
        where l.tenant_id = $1 and l.scope = s.scope and a.scopes = cardinality($2::text[])
       returning a.go, a.starts_at, a.now, l.booked)
     select go, greatest(0, extract(epoch from case when go then max(starts_at) else greatest(max(starts_at), max(booked)) end - now)
                            * 1000)::float8 as wait_ms
       from taken group by go, now`,
    [
      tenantId,
      asked.map(({ scope }) => scope),
      distances,
      asked.map(({ limit }, index) => distances[index]! * ((limit.burst ?? 0) + 1)),
      distances.map((distance) => Math.min(MAX_SEND_DELAY_MS, 10 * distance)),
      askedBefore,
      LONGEST_WAIT_MS,
      MAX_SEND_DELAY_MS,
    ],
  )
  return rows[0] ?? null
}
