import pg from 'pg'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { onEachPostgres } from '../support/postgres-versions.ts'

onEachPostgres((database) => {
  let db: pg.Client

  beforeAll(async () => {
    db = new pg.Client({ connectionString: database().adminUrl })
    await db.connect()
  })
  afterAll(() => db.end())

  it('makes UUIDv7 of the RFC’s form, all different, in the order in which they were made', async () => {
    const { rows } = await db.query(
      `select count(*)::int as made, count(distinct id)::int as different, bool_and(id_time(id) >= id_time(before)) as sorted,
              avg((id > before)::int)::float8 as finely_sorted,
              bool_and(id::text ~ '^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$') as formed
       from (
         select id, lag(id) over (order by n) as before
         from (select n, new_uuidv7() as id from generate_series(1, 20000) as n) as ids
       ) as pairs`,
    )
    expect(rows[0]).toMatchObject({ made: 20_000, different: 20_000, sorted: true, formed: true })
    // Within a millisecond too, but for those of the same microsecond.
    expect(rows[0].finely_sorted).toBeGreaterThan(0.9)
  })

  it('gives back the millisecond in which an id was made', async () => {
    const { rows } = await db.query(
      `select id_time(id) between date_trunc('milliseconds', before) and clock_timestamp() as made_now
       from (select clock_timestamp() as before, new_uuidv7() as id) as made`,
    )
    expect(rows[0].made_now).toBe(true)
  })

  it.each([
    ['1970-01-01T00:00:00.000Z', '00000000-0000-7000-8000-000000000000'],
    // The example of RFC 9562, appendix A.6: 2022-02-22 14:22:22.00-05:00.
    ['2022-02-22T19:22:22.000Z', '017f22e2-79b0-7000-8000-000000000000'],
    ['2026-11-25T03:26:33.999Z', '01a210bd-a60f-7000-8000-000000000000'],
  ])('%s has the floor %s', async (time, floor) => {
    const { rows } = await db.query('select id_floor($1::timestamptz) as floor, id_time($2::uuid) as time', [
      time,
      floor,
    ])
    expect(rows[0]).toEqual({ floor, time: new Date(time) })
  })

  it('has a floor that is the smallest id of its millisecond, whatever the time zone', async () => {
    const { rows } = await db.query(
      `select id_floor('2026-03-01 00:00:00.0009+00') = id_floor('2026-03-01 00:00:00+00') as truncated,
              id_floor('2026-03-01 00:00:00.001+00') > id_floor('2026-03-01 00:00:00+00') as next,
              bool_and(id_floor(id_time(id)) <= id) as below
       from (select new_uuidv7() as id from generate_series(1, 1000)) as ids`,
    )
    expect(rows[0]).toEqual({ truncated: true, next: true, below: true })
    await db.query("set time zone 'Asia/Kolkata'")
    const elsewhere = await db.query(
      "select id_floor('1970-01-01T00:00:00Z') as floor, month_floor('1970-01-15') as month",
    )
    await db.query('reset time zone')
    expect(elsewhere.rows[0]).toEqual({
      floor: '00000000-0000-7000-8000-000000000000',
      month: '00000000-0000-7000-8000-000000000000',
    })
  })
})
