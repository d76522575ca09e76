// Distributions that recur: what is asked and answered.
import { z } from '@hono/zod-openapi'
import { cronIssue } from '../../activities/schedules/cron.ts'
import { isTimeZone } from '../../activities/schedules/time-zone.ts'
import { LIMITS } from '../../db/limits.ts'
import { JOB_STATUSES, OVERLAPS } from '../../db/states.ts'
import { characters, exact, nameField, tenantField, time, whole, wholeText } from './fields.ts'
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
        'Minute, hour, day of the month, month, day of the week (0 or `sun` to 6; 7 is Sunday too). Where both day fields are given, either is enough. Either this or `interval_seconds`',
      example: '30 6 * * 1-5',
    }),
  interval_seconds: whole(10, 31_536_000).nullish().openapi({ description: 'Counted from 1970-01-01T00:00:00Z' }),
  time_zone: z
    .string()
    .max(100)
    .refine(isTimeZone, 'is not the name of a time zone, spelled such as Europe/Rome')
    .default('UTC')
    .openapi({
      description:
        'Of `cron`. A time that its clocks leave out does not come on that day, one that they repeat comes once.',
      example: 'Europe/Rome',
    }),
  overlap: z.enum(OVERLAPS).default('skip').openapi({
    description:
      'When the distribution before is not final yet: leave this time out, keep one for later, keep all (a thousand at most), or begin all the same. Its end is noticed within half a minute.',
  }),
  catchup_seconds: whole(10, 31_536_000)
    .default(31_536_000)
    .openapi({
      description: `Times that were missed are made up when they are no older than this, the last ${LIMITS.timesMadeUp.value} at most, as \`overlap\` allows; the others are named in \`problem\``,
    }),
  paused: z.boolean().nullish().openapi({ description: 'False when absent; in a PUT it then stays as it is' }),
}

/** The submission is checked by itself. */
export const scheduleContent = z.strictObject({ ...fields, submission: z.unknown() })

export const scheduleRequest = z
  .strictObject({
    ...fields,
    submission: submission.openapi({
      description: 'As for a single one, without `expires_at`, `deliver_at` and an idempotency key',
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
  id: z.string().openapi({ param: { name: 'id', in: 'path' }, description: 'Its uuid or its name' }),
})

export const scheduleListQuery = z.strictObject({
  limit: wholeText(1, 1000).optional().openapi({ description: '50 when absent' }),
  cursor: characters(1, 200).optional(),
})

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
    paused: z.boolean().openapi({ description: 'One schedule by itself says so also when it was paused in Temporal' }),
    version: z.int(),
    in_sync: z.boolean().openapi({ description: 'False for a moment after a change, or while Temporal is away' }),
    last_fired_at: time.nullable(),
    last_distribution_id: z.string().nullable(),
    last_status: z.enum(JOB_STATUSES).nullable().openapi({ description: 'How that distribution stands' }),
    problem: z.string().nullable().openapi({
      description:
        'Why the last time made no distribution (its payload is not what its data type asks for by now, the tenant is suspended), why Temporal does not take the schedule, or which times were missed since it was last changed or resumed',
    }),
    problem_at: time.nullable(),
    created_at: time,
    updated_at: time,
  })
  .openapi('ListedSchedule')

export const schedule = listed
  .extend({
    next_runs: z.array(time).nullable().openapi({
      description: 'None while it is paused; null while Temporal does not answer',
    }),
    submission: exact(z.unknown()).openapi({ description: 'As it was sent' }),
  })
  .openapi('Schedule')

export const scheduleList = z
  .object({
    schedules: z.array(listed),
    pagination: z.object({ limit: z.int(), has_more: z.boolean(), next_cursor: z.string().nullable() }),
  })
  .openapi('ScheduleList')
