// Rate limits of deliveries, by the generic cell rate algorithm: a row holds the time at which the next one would arrive
// if all came evenly. One statement asks, and takes only when it may go.
import type { Db } from '../pool.ts'

/** So many per so many seconds, evenly spread; `burst` more may come at once. */
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

export interface Turn {
  /** False: not now, and nothing was taken. */
  go: boolean
  /** With `go`, so long the send has to be held back; else when to come again. Milliseconds. */
  wait_ms: number
}

/** Nobody is told to come later than this; beyond it there is no order any more, only a crowd that is spread out. */
const LONGEST_WAIT_MS = 900_000
/** A turn so near is given at once, and the send held back until then: two that come at once both keep their place. */
const MOST_HELD_BACK_MS = 500

/**
 * The distance between two in milliseconds. What leaves evenly does not arrive evenly: the way of one may take longer
 * than that of the next. A quarter of a second and five in a hundred are kept free for it, so that no window of
 * `per_seconds` at the receiver sees more than `requests` and the burst.
 */
export function distanceMs(limit: RateLimit): number {
  return (limit.per_seconds * 1000 + slackMs(limit)) / limit.requests
}

/** How much later than its turn one may arrive, all in all. */
export function slackMs({ per_seconds }: RateLimit): number {
  const window = per_seconds * 1000
  return Math.min(window, 250 + 0.05 * window)
}

/**
 * Asks all limits at once; takes one turn of each when all of them have one, else of none. Who is denied is told when its
 * turn would be behind those who were denied before, so that thousands do not all come again at the same moment. Who
 * comes for the first time (`returning` false) has to stand behind them too. A limit that was changed applies at once: what
 * was taken and told under the old one does not reach beyond the new one's room.
 */
export async function takeTurn(db: Db, tenantId: string, asked: AskedLimit[], returning: boolean): Promise<Turn> {
  for (;;) {
    const turn = await tryTurn(db, tenantId, asked, returning)
    if (turn) return turn.wait_ms < LONGEST_WAIT_MS - 1 ? turn : { ...turn, wait_ms: spread(LONGEST_WAIT_MS) }
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
async function tryTurn(db: Db, tenantId: string, asked: AskedLimit[], returning: boolean): Promise<Turn | null> {
  const distances = asked.map(({ limit }) => distanceMs(limit))
  const { rows } = await db.query<Turn>(
    `with asked as (
       select scope, distance as distance_ms, distance * interval '1 millisecond' as distance,
              room * interval '1 millisecond' as room,
              held_back * interval '1 millisecond' as held_back, position
         from unnest($2::text[], $3::float8[], $4::float8[], $5::float8[])
              with ordinality as a (scope, distance, room, held_back, position)),
     held as materialized (
       select l.scope, l.arrival, a.distance_ms, a.distance, a.room, a.held_back,
              case when l.distance_ms = a.distance_ms then l.booked else '-infinity' end as booked
         from asked a join rate_limits l on l.tenant_id = $1 and l.scope = a.scope
        order by a.position
          for update of l),
     -- The time is taken once all locks are held.
     clock as materialized (select clock_timestamp() as now, count(*) as scopes from held),
     turns as materialized (
       select h.scope, h.distance_ms, h.distance, h.held_back, h.booked, b.arrival, c.now, c.scopes,
              -- When this one's turn is: at once, or when the room is no longer full.
              greatest(c.now, b.arrival + h.distance - h.room) as turn,
              $6::bool or h.booked <= c.now as first
         from held h cross join clock c
        -- Nobody who went under this limit made it later.
        cross join lateral (select least(h.arrival, c.now + $8 * interval '1 millisecond' + h.room) as arrival) b),
     answer as materialized (
       select now, bool_and(first and turn <= now + held_back) as go, max(turn) as turn, scopes from turns group by now, scopes),
     taken as (
       update rate_limits l
          -- From when it is sent on, which another one of the limits may hold back.
          set arrival = case when a.go then greatest(t.arrival, a.turn) + t.distance else t.arrival end,
              distance_ms = t.distance_ms,
              booked = case when a.go or (t.first and t.turn <= t.now + t.held_back) then t.booked
                            else least(greatest(t.booked + t.distance, t.turn), t.now + $7 * interval '1 millisecond') end
         from turns t cross join answer a
        where l.tenant_id = $1 and l.scope = t.scope and a.scopes = cardinality($2::text[])
       returning a.go, a.turn, a.now, l.booked)
     select go, greatest(0, extract(epoch from case when go then max(turn) else greatest(max(turn), max(booked)) end - now)
                            * 1000)::float8 as wait_ms
       from taken group by go, now`,
    [
      tenantId,
      asked.map(({ scope }) => scope),
      distances,
      asked.map(({ limit }, index) => distances[index]! * ((limit.burst ?? 0) + 1)),
      distances.map((distance) => Math.min(MOST_HELD_BACK_MS, 10 * distance)),
      returning,
      LONGEST_WAIT_MS,
      MOST_HELD_BACK_MS,
    ],
  )
  return rows[0] ?? null
}
