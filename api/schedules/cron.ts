// Cron expressions of five fields, checked before Temporal sees them: it answers later, and to nobody.

const FIELDS = [
  { name: 'minute', min: 0, max: 59, words: [] },
  { name: 'hour', min: 0, max: 23, words: [] },
  { name: 'day of the month', min: 1, max: 31, words: [] },
  {
    name: 'month',
    min: 1,
    max: 12,
    words: ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec'],
  },
  // 7 would be a second Sunday, which Temporal takes as well.
  { name: 'day of the week', min: 0, max: 7, words: ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'] },
] as const

type Field = (typeof FIELDS)[number]

/** What is wrong with a cron expression, or undefined. */
export function cronIssue(expression: string): string | undefined {
  const parts = expression.trim().split(/\s+/)
  if (parts.length !== FIELDS.length) {
    return 'must have five fields: minute, hour, day of the month, month, day of the week'
  }
  for (const [i, field] of FIELDS.entries()) {
    const issue = parts[i]!.split(',')
      .map((part) => partIssue(part, field))
      .find((found) => found !== undefined)
    if (issue) return `has a ${field.name} that ${issue}`
  }
  // A day of the week comes in every month, and is enough where both are given.
  return !parts[4]!.startsWith('*') || comes(parts[2]!, parts[3]!)
    ? undefined
    : 'never comes: none of its months has one of its days'
}

/** Of each month; the 29th of February comes, if seldom. */
const DAYS = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]

function comes(days: string, months: string): boolean {
  const earliest = Math.min(...values(days, FIELDS[2]))
  return values(months, FIELDS[3]).some((month) => earliest <= DAYS[month - 1]!)
}

/** The values of a field that is known to be right. */
function values(text: string, field: Field): number[] {
  return text.split(',').flatMap((part) => {
    const [range = '', step] = part.split('/')
    const [from, to] = range === '*' ? [field.min, field.max] : range.split('-').map((one) => readValue(one, field)!)
    const last = to ?? (step === undefined ? from! : field.max)
    const every = Number(step ?? 1)
    return Array.from({ length: Math.floor((last - from!) / every) + 1 }, (_, i) => from! + i * every)
  })
}

/** One of `*`, `5`, `1-5`, each with `/2` behind it or not. */
function partIssue(part: string, field: Field): string | undefined {
  const [range = '', step, ...more] = part.split('/')
  if (more.length > 0 || (step !== undefined && !/^[1-9]\d{0,2}$/.test(step))) return 'has a step that is no number'
  if (range === '*') return undefined
  const [from, to, ...rest] = range.split('-').map((text) => readValue(text, field))
  if (rest.length > 0 || from === undefined || (range.includes('-') && to === undefined)) {
    return `is not within ${field.min} to ${field.max}`
  }
  return to !== undefined && to < from ? 'is a range that ends before it begins' : undefined
}

function readValue(text: string, field: Field): number | undefined {
  const word = (field.words as readonly string[]).indexOf(text.toLowerCase())
  if (word >= 0) return word + (field.min === 0 ? 0 : 1)
  if (!/^\d{1,2}$/.test(text)) return undefined
  const value = Number(text)
  return value >= field.min && value <= field.max ? value : undefined
}

/**
 * Whether it is the name of a time zone, such as Europe/Rome. Intl takes more than Temporal does: offsets such as +02:00, and
 * names in any case.
 */
export function isTimeZone(name: string): boolean {
  if (!/^[A-Z][\w+-]*(\/[A-Z][\w+-]*)*$/.test(name)) return false
  try {
    const { timeZone } = new Intl.DateTimeFormat('en', { timeZone: name }).resolvedOptions()
    return timeZone === name || timeZone.toLowerCase() !== name.toLowerCase()
  } catch {
    return false
  }
}
