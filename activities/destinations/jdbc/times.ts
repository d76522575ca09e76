// Parses dates and times in texts. Accepts only forms that mean the same with every setting of a server; so it does not
// accept `01/02/2026`, `26-02-28`, `1011` or a number of seconds.

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
  /** `2026-02-28`; undefined if the date contains names. */
  date: string | undefined
  /** `19:08:38`; undefined when there is no time. */
  time: string | undefined
  /** The fraction of a second with its point; empty when there is none. */
  fraction: string
  /** The offset in minutes east of Greenwich; undefined when there is none, or it is not a whole number of minutes. */
  offset: number | undefined
  /** The text has a zone, as an offset or a name. */
  zoned: boolean
  /** The text has only digits, `T`, and `Z` or an offset: no names, no `pm`, no era. */
  plain: boolean
}

/** @returns undefined for a text that is not a date or a timestamp, or that servers read in different ways */
export function readMoment(text: string): WrittenMoment | undefined {
  const groups = text.length <= 100 ? MOMENT.exec(text)?.groups : undefined
  if (!groups) return undefined
  const { iso, compact, named, half, zone, era, digits } = groups
  if (digits !== undefined && compact === undefined) return undefined
  const [hours, minutes, seconds = '00'] = digits?.match(/\d\d/g) ?? [groups.hours, groups.minutes, groups.seconds]
  // A server would read second 60 as the next minute.
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

/** Truncates the fraction to the digits that the column keeps: the server would round it, perhaps to the next day. */
export function cutFraction(text: string, fraction: string, digits: number): string {
  if (fraction.length <= digits + 1) return text
  return text.replace(fraction, digits === 0 ? '' : fraction.slice(0, digits + 1))
}

/** For a `date` column: midnight without a zone, or in UTC, is accepted as a day; any other time would be lost. */
export function dayOf({ date, time, fraction, offset, zoned }: WrittenMoment): string | undefined {
  if (time === undefined) return zoned ? undefined : date
  const isMidnight = time === '00:00:00' && /^(\.0*)?$/.test(fraction)
  return isMidnight && (!zoned || offset === 0) ? date : undefined
}

/**
 * The local time of the moment at `shift` minutes east of Greenwich, without the fraction. A text without a zone is
 * returned as it is written.
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
