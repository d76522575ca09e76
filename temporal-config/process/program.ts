// Runs a program: reads the settings, starts, prints `ready`, and shuts down in order.

import type { Logger } from 'pino'
import { createLogger } from './log.ts'
import { helpText, misspeltSettings, type Program, readSettings, type Settings, SettingsError } from './settings.ts'

/** The longest time for a shutdown; the workers' own grace period is 30 s. */
const STOP_WITHIN_MS = 90_000

/** The order of the shutdown: each part needs the parts after it. */
const END_ORDER = [
  'the API',
  'the workers',
  'the health server',
  'the metrics server',
  'the connection to Temporal',
  'the connections to the database',
  'the shaping processes',
  'the receivers',
  'the embedded servers',
] as const
export type Closing = (typeof END_ORDER)[number]

/** The start fails for a reason that the operator can fix. One line per reason. */
export class StartRefused extends Error {
  readonly lines: string[]

  constructor(...lines: string[]) {
    super(lines.join('\n'))
    this.lines = lines
  }
}

export interface Life {
  /** Registers `close` to run at the shutdown, in the order above. */
  atEnd(what: Closing, close: () => Promise<unknown> | unknown): void
  /** Ends the program; the first call counts. */
  end(code: number, why: string): void
  /** Ends the program because of an error, with exit code 1. */
  fail(error: unknown): void
  /** Aborts when the end begins. */
  readonly ending: AbortSignal
}

export interface Started {
  settings: Settings
  logger: Logger
  life: Life
  /** Prints what a slow step does, for the person at the terminal. */
  say: (line: string) => void
}

export interface ProgramOptions {
  /** A log to use instead of JSON lines on stdout. */
  logger?: (settings: Settings) => Logger
  say?: (line: string) => void
  /** Arguments that the program accepts besides `--help`, with their descriptions. */
  flags?: Readonly<Record<string, string>>
}

/**
 * Runs a program. `start` starts everything and may return fields for the line `ready`. SIGTERM and SIGINT shut it down
 * in order, with exit code 0. A failure, at the start or later, ends it with exit code 1.
 */
export async function runProgram(
  program: Program,
  start: (started: Started) => Promise<Record<string, unknown> | undefined>,
  options: ProgramOptions = {},
): Promise<void> {
  const given = process.argv.slice(2)
  if (given.some((argument) => argument === '--help' || argument === '-h')) {
    console.log(helpText(program, options.flags))
    return
  }
  const unknown = given.filter((argument) => !Object.hasOwn(options.flags ?? {}, argument))
  if (unknown.length > 0) {
    console.error(`${unknown.join(' ')}: is not known. Settings are given in the environment; --help lists them`)
    process.exitCode = 1
    return
  }
  const settings = settingsOrExit(program)
  const logger =
    options.logger?.(settings) ?? createLogger(settings.LOG_LEVEL, program === 'start' ? 'distributor' : program)
  const say = options.say ?? ((line) => logger.info(line))
  for (const line of misspeltSettings()) logger.warn(line)
  const life = createLife(logger)
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => life.end(0, signal))
  process.on('uncaughtException', (error) => life.fail(error))
  try {
    const ready = await start({ settings, logger, life, say })
    // Logged at every log level: the starter of the program waits for this line.
    if (ready && !life.ending.aborted) createLogger('info', logger.bindings().name).info(ready, 'ready')
  } catch (error) {
    life.fail(error)
  }
}

function settingsOrExit(program: Program): Settings {
  try {
    return readSettings(undefined, program)
  } catch (error) {
    if (!(error instanceof SettingsError)) throw error
    for (const line of error.lines) console.error(line)
    process.exit(1)
  }
}

/** Creates the life of a program; `end` begins the shutdown and exits the process. */
export function createLife(logger: Logger): Life {
  const closers: { what: Closing; close: () => Promise<unknown> | unknown }[] = []
  const controller = new AbortController()
  let exitCode = 0

  async function close({ what, close }: (typeof closers)[number]): Promise<void> {
    try {
      await close()
      logger.debug(`${what} closed`)
    } catch (error) {
      exitCode = 1
      logger.error({ err: error }, `${what} did not close`)
    }
  }

  function end(code: number, why: string): void {
    if (controller.signal.aborted) return
    exitCode = code
    if (code === 0) logger.info(`ending: ${why}`)
    controller.abort()
    setTimeout(() => {
      logger.fatal(`not at an end after ${STOP_WITHIN_MS / 1000} s`)
      process.exit(1)
    }, STOP_WITHIN_MS).unref()
    void (async () => {
      // Read again each time: a part that was still starting registers late.
      for (;;) {
        closers.sort((one, other) => END_ORDER.indexOf(one.what) - END_ORDER.indexOf(other.what))
        const next = closers.shift()
        if (!next) break
        await close(next)
      }
      logger.info('ended')
      process.exit(exitCode)
    })()
  }

  return {
    ending: controller.signal,
    end,
    atEnd(what, closer) {
      closers.push({ what, close: closer })
    },
    fail(error) {
      // An error that the shutdown itself causes is not a failure.
      if (controller.signal.aborted) return
      if (error instanceof StartRefused) for (const line of error.lines) console.error(line)
      else {
        logger.fatal({ err: error }, 'failed')
        console.error(`failed: ${(error as Error).message}`)
      }
      end(1, 'failed')
    },
  }
}
