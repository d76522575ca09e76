// Dates and times that are written as text. Only forms that mean the same under every setting of a server are read:
// `01/02/2026`, `26-02-28`, `1011` and a count of seconds are not among them.

const MONTH =
  '(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)'
const WEEKDAY = '(?:(?:mon|tues?|wed(?:nes)?|thu(?:rs)?|fri|sat(?:ur)?|sun)(?:day)?,?\\s+)?'
const DATE = [
  '(?<iso>\\d{4,6}-\\d{1,2}-\\d{1,2})',
  '(?<compact>\\d{8})',
  `(?<named>${WEEKDAY}(?:\\d{1,2}[ -]${MONTH}[ -]\\d{4}|${MONTH}\\s+\\d{1,2},?\\s+\\d{4}|\\d{4}-${MONTH}-\\d{1,2}))`,
].join('|')
const CLOCK = '(?<hours>\\d{1,2}):(?<minutes>\\d\\d)(?::(?<seconds>\\d\\d)(?<fraction>\\.\\d+)?)?(?<half>\\s?[ap]m)?'
const OFFSET = '(?:z|(?<sign>[+-])(?<offHours>\\d\\d)(?::?(?<offMinutes>\\d\\d)(?::?(?<offSeconds>\\d\\d))?)?)'
const ZONE = `(?:\\s*(?<offset>${OFFSET})|\\s+(?<zone>[a-z][a-z0-9_+/-]*))`
const MOMENT = new RegExp(
  `^(?:${DATE})(?:(?:t|\\s+)(?:${CLOCK}|(?<digits>\\d{6})(?<digitsFraction>\\.\\d+)?)${ZONE}?)?(?<era>\\s+(?:bc|ad))?$`,
  'i',
)
const TIME = new RegExp(`^${CLOCK}${ZONE}?$`, 'i')

export interface WrittenMoment {
  /** `2026-02-28`; undefined when the date is written in words. */
  date: string | undefined
  /** `19:08:38`; undefined where no time is written. */
  time: string | undefined
  /** With its point; empty where there is none. */
  fraction: string
  /** In minutes east of Greenwich; undefined where there is none, or one that is not a number of minutes. */
  offset: number | undefined
  /** A zone is written, as an offset or by its name. */
  zoned: boolean
  /** Nothing but digits, `T` and `Z` or an offset: no names, no `pm`, no era. */
  plain: boolean
}

/** @returns undefined for a text that is no date or moment, or that different servers read differently */
export function readMoment(text: string): WrittenMoment | undefined {
  const groups = text.length <= 100 ? MOMENT.exec(text)?.groups : undefined
  if (!groups) return undefined
  const { iso, compact, named, half, zone, era, digits } = groups
  if (digits !== undefined && compact === undefined) return undefined
  const [hours, minutes, seconds = '00'] = digits?.match(/\d\d/g) ?? [groups.hours, groups.minutes, groups.seconds]
  // A 61st second would be read as the next minute.
  if (Number(seconds) > 59) return undefined
  const offset = offsetOf(groups)
  return {
    date: iso ?? compact?.replace(/(....)(..)(..)/, '$1-$2-$3'),
    time: hours === undefined ? undefined : `${hours.padStart(2, '0')}:${minutes}:${seconds}`,
    fraction: groups.fraction ?? groups.digitsFraction ?? '',
    offset,
    zoned: groups.offset !== undefined || zone !== undefined,
    plain: named === undefined && half === undefined && zone === undefined && era === undefined,
  }
}

/** The same for a time of day. */
export function readTime(text: string): Pick<WrittenMoment, 'fraction' | 'zoned'> | undefined {
  const groups = text.length <= 100 ? TIME.exec(text)?.groups : undefined
  if (!groups || Number(groups.seconds ?? 0) > 59) return undefined
  return { fraction: groups.fraction ?? '', zoned: groups.offset !== undefined || groups.zone !== undefined }
}

/** The text with no more digits of a second than a column keeps: rounded, it could become the next day. */
export function cutFraction(text: string, fraction: string, digits: number): string {
  if (fraction.length <= digits + 1) return text
  return text.replace(fraction, digits === 0 ? '' : fraction.slice(0, digits + 1))
}

/** Of a `date` column: midnight and midnight in UTC are a day too, any other time would be lost. */
export function dayOf({ date, time, fraction, offset, zoned }: WrittenMoment): string | undefined {
  if (time === undefined) return zoned ? undefined : date
  const isMidnight = time === '00:00:00' && /^(\.0*)?$/.test(fraction)
  return isMidnight && (!zoned || offset === 0) ? date : undefined
}

/**
 * The moment as a clock shows it that is `shift` minutes east of Greenwich, without the fraction; as it is written where
 * no zone is.
 * @returns undefined for a day or time that does not exist
 */
export function atOffset({ date, time = '00:00:00', offset, zoned }: WrittenMoment, shift: number): string | undefined {
  const match = /^(\d{4})-(\d{1,2})-(\d{1,2})$/.exec(date ?? '')
  if (!match) return undefined
  const day = `${match[1]}-${match[2]!.padStart(2, '0')}-${match[3]!.padStart(2, '0')}`
  const at = Date.parse(`${day}T${time}Z`)
  if (Number.isNaN(at) || new Date(at).toISOString().slice(0, 19) !== `${day}T${time}`) return undefined
  if (!zoned) return `${day} ${time}`
  if (offset === undefined) return undefined
  const shifted = new Date(at + (shift - offset) * 60_000).toISOString()
  return /^\d{4}-/.test(shifted) ? shifted.slice(0, 19).replace('T', ' ') : undefined
}

function offsetOf({
  offset,
  sign,
  offHours,
  offMinutes = '00',
  offSeconds = '00',
}: Record<string, string | undefined>) {
  if (offset === undefined) return undefined
  if (sign === undefined) return 0
  if (Number(offMinutes) > 59 || Number(offSeconds) !== 0) return undefined
  return (sign === '-' ? -1 : 1) * (Number(offHours) * 60 + Number(offMinutes))
}
