// A command that does one thing and ends: its arguments, its help, and its errors as lines.
import { DatabaseRefused, DatabaseUnavailable } from '../../db/availability.ts'
import { helpText, type Program, readSettings, type Settings } from './settings.ts'

export interface Command {
  program: Program
  /** The arguments after the name, such as `FILE [--replace]`. */
  usage: string
  flags: readonly string[]
  /** The least and the greatest number of arguments, without flags. */
  words: [least: number, most: number]
}

export interface Given {
  settings: Settings
  words: string[]
  flags: ReadonlySet<string>
  /** Prints a line on stderr; the result goes to stdout. */
  say: (line: string) => void
}

/** Runs the command with this process's arguments, and sets the exit code: 0, or 1 with lines that say why. */
export async function runCommand(command: Command, work: (given: Given) => Promise<void>): Promise<void> {
  const args = process.argv.slice(2)
  if (args.includes('--help')) {
    console.log(`usage: npm run ${command.program} -- ${command.usage}\n`)
    console.log(helpText(command.program))
    return
  }
  try {
    const flags = new Set(args.filter((arg) => arg.startsWith('--')))
    const words = args.filter((arg) => !arg.startsWith('--'))
    const [least, most] = command.words
    const unknown = [...flags].filter((flag) => !command.flags.includes(flag))
    if (unknown.length > 0 || words.length < least || words.length > most) {
      throw new Error(`usage: npm run ${command.program} -- ${command.usage}`)
    }
    await work({ settings: readSettings(undefined, command.program), words, flags, say: (line) => console.error(line) })
  } catch (error) {
    const { message, hint } = error as Error & { hint?: string }
    const away = error instanceof DatabaseUnavailable || error instanceof DatabaseRefused
    console.error(away ? `the database does not answer: ${message}` : message || String(error))
    if (hint) console.error(hint)
    process.exitCode = 1
  }
}
