// Tests that need a server program of this machine.
import { describe } from 'vitest'
import { canObtain, obtainProgram, type ReceiverProgram } from './programs.ts'

/**
 * `describe` for tests that start these programs, each installed where that is possible. Where it is not, they are
 * skipped; with `CI` set they still run, and fail with the program's name. Await this at the top of a file.
 */
export async function describeWith(...names: ReceiverProgram[]) {
  const here = await Promise.all(names.map(canObtain))
  return describe.skipIf(!process.env.CI && here.includes(false))
}

/** For `beforeAll` hooks that may have to install what they start, in milliseconds. */
export const INSTALL_MS = 900_000

/** The program's path. */
export function program(name: ReceiverProgram): Promise<string> {
  return obtainProgram(name, (line) => process.stderr.write(`${line}\n`))
}
