// Requests and responses of schedules.
import { z } from '@hono/zod-openapi'
import { cronIssue } from '../../activities/schedules/cron.ts'
import { isTimeZone } from '../../activities/schedules/time-zone.ts'
import { LIMITS } from '../../db/limits.ts'
import { JOB_STATUSES, OVERLAPS } from '../../db/states.ts'
import { characters, exact, nameField, tenantField, time, whole } from './fields.ts'
import { cursorPagination, cursorQuery } from './pages.ts'
import { submission } from './submission.ts'

const fields = {
  tenant_id: tenantField,
  name: nameField.openapi({ example: 'nightly-report' }),
  description: characters(0, 500).nullish(),
  cron: characters(1, 200)
    .superRefine((text, context) => {
      const issue = cronIssue(text)
      if (issue) context.addIssue({ code: 'custom', message: issue })
    })
    .nullish()
    .openapi({
      description:
        'Five fields: minute, hour, day of the month, month, day of the week (0 or `sun` to 6; 7 is Sunday too). If both day fields are given, one of them must match; if one begins with `*`, such as `*/2`, both must. Give either this or `interval_seconds`',
      example: '30 6 * * 1-5',
    }),
  interval_seconds: whole(10, 31_536_000)
    .nullish()
    .openapi({ description: 'Intervals count from 1970-01-01T00:00:00Z' }),
  time_zone: z
    .string()
    .max(100)
    .refine(isTimeZone, 'must be the name of a time zone, such as Europe/Rome')
    .default('UTC')
    .openapi({
      description:
        'Time zone of `cron`. A time that daylight saving skips does not run on that day; a time that it repeats runs once.',
      example: 'Europe/Rome',
    }),
  overlap: z.enum(OVERLAPS).default('skip').openapi({
    description:
      'What happens if the previous distribution is not final: `skip` this run, `buffer_one` run for later, `buffer_all` (at most 1000), or `allow_all` to run anyway. The end of the previous distribution is noticed within 30 s.',
  }),
  catchup_seconds: whole(10, 31_536_000)
    .default(31_536_000)
    .openapi({
      description: `A missed run is made up if it is at most this old and \`overlap\` allows it, but only the last ${LIMITS.timesMadeUp.value}; \`problem\` lists the others`,
    }),
  paused: z.boolean().nullish().openapi({ description: 'Default false; absent in a PUT: stays unchanged' }),
}

/** The request without its submission, which is checked separately. */
export const scheduleContent = z.strictObject({ ...fields, submission: z.unknown() })

export const scheduleRequest = z
  .strictObject({
    ...fields,
    submission: submission.openapi({
      description: 'As for a single submission, without `expires_at`, `deliver_at` and an idempotency key',
    }),
  })
  .openapi('ScheduleRequest', {
    example: {
      name: 'nightly-report',
      cron: '30 6 * * 1-5',
      time_zone: 'Europe/Rome',
      submission: { data_type: 'aggregated_report', payload: { report: 'daily' }, destinations: ['ms09-reporter'] },
    },
  })

export const scheduleParams = z.object({
  id: z.string().openapi({ param: { name: 'id', in: 'path' }, description: 'The uuid or the name' }),
})

export const scheduleListQuery = z.strictObject(cursorQuery)

const listed = z
  .object({
    id: z.uuid(),
    name: z.string(),
    description: z.string().nullable(),
    cron: z.string().nullable(),
    interval_seconds: z.int().nullable(),
    time_zone: z.string(),
    overlap: z.enum(OVERLAPS),
    catchup_seconds: z.int(),
    paused: z.boolean().openapi({ description: 'A single schedule also shows a pause that was set in Temporal' }),
    version: z.int(),
    in_sync: z
      .boolean()
      .openapi({ description: 'False for a moment after a change, or while Temporal is not available' }),
    last_fired_at: time.nullable(),
    last_distribution_id: z.string().nullable(),
    last_status: z.enum(JOB_STATUSES).nullable().openapi({ description: 'Status of that distribution' }),
    problem: z.string().nullable().openapi({
      description:
        'Why the last run created no distribution (for example: the payload does not match its data type any more, or the tenant is suspended), why Temporal rejects the schedule, or which runs were missed since it was last changed or resumed',
    }),
    problem_at: time.nullable(),
    created_at: time,
    updated_at: time,
  })
  .openapi('ListedSchedule')

export const schedule = listed
  .extend({
    next_runs: z.array(time).nullable().openapi({
      description: 'Empty while it is paused; null while Temporal does not answer',
    }),
    submission: exact(z.unknown()).openapi({ description: 'Exactly as it was sent' }),
  })
  .openapi('Schedule')

export const scheduleList = z
  .object({
    schedules: z.array(listed),
    pagination: cursorPagination,
  })
  .openapi('ScheduleList')
