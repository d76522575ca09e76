// What a run of the bench is asked to do.
import { parseArgs } from 'node:util'

export interface BenchOptions {
  /** Run the measurements that have a bound, in place of the comparison. */
  check: boolean
  /** Each round measures both sides, unloaded and saturated. */
  rounds: number
  /** How long each measurement submits, unless `count` says how many. */
  seconds: number
  count: number | undefined
  /** Submissions that wait for their arrival at any time, when saturated. */
  in_flight: number
  /** Submissions per second, when unloaded. */
  rate: number
  server: 'dev' | 'postgres'
  /** A file for all numbers of all rounds. */
  json: string | undefined
  /** A folder for CPU profiles of the product's process. */
  profile: string | undefined
}

export const USAGE = `npm run bench -- [options]

  --check            run the measurements that have a bound instead, and fail beyond a bound; takes some minutes
  --rounds N         rounds, each of which measures both sides in turn [5]
  --seconds N        how long each of a round's four measurements submits [6]
  --count N          submit so many instead
  --in-flight N      saturated: so many wait for their arrival at any time [50]
  --rate N           unloaded: so many per second [10]
  --server WHICH     dev: the embedded server; postgres: a full Temporal server on PostgreSQL (needs Go, once) [dev]
  --json FILE        write all numbers of all rounds
  --profile FOLDER   write CPU profiles of the product's process`

/** Options that cannot be had; the message is for the person who gave them. */
export class UsageError extends Error {}

export function readOptions(args: string[]): BenchOptions {
  const text = { type: 'string' } as const
  const { values } = parsed(() =>
    parseArgs({
      args,
      options: {
        check: { type: 'boolean', default: false },
        rounds: { ...text, default: '5' },
        seconds: { ...text, default: '6' },
        count: text,
        'in-flight': { ...text, default: '50' },
        rate: { ...text, default: '10' },
        server: { ...text, default: 'dev' },
        json: text,
        profile: text,
      },
    }),
  )
  if (values.server !== 'dev' && values.server !== 'postgres') throw new UsageError('--server is dev or postgres')
  return {
    check: values.check,
    rounds: whole('rounds', values.rounds),
    seconds: whole('seconds', values.seconds),
    count: values.count === undefined ? undefined : whole('count', values.count),
    in_flight: whole('in-flight', values['in-flight']),
    rate: whole('rate', values.rate),
    server: values.server,
    json: values.json,
    profile: values.profile,
  }
}

function parsed<T>(parse: () => T): T {
  try {
    return parse()
  } catch (error) {
    throw new UsageError((error as Error).message)
  }
}

function whole(name: string, text: string): number {
  if (!/^[1-9]\d{0,5}$/.test(text)) throw new UsageError(`--${name} is a whole number from 1 on`)
  return Number(text)
}
