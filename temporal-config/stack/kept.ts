// Secrets that are generated once and kept in a file of mode 0600.
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'

/** The content of `file`. If it does not exist, it is created with the result of `make`; of several callers only one does it. */
export function kept(file: string, make: () => string): string {
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 })
  try {
    writeFileSync(file, `${make()}\n`, { mode: 0o600, flag: 'wx' })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  }
  return readFileSync(file, 'utf8').trim()
}

/** The content of `file`; undefined if it does not exist. */
export function readKept(file: string): string | undefined {
  return existsSync(file) ? readFileSync(file, 'utf8').trim() : undefined
}

/** Writes this content to `file`, and returns it. */
export function keepAs(file: string, content: string): string {
  if (readKept(file) !== content) rmSync(file, { force: true })
  return kept(file, () => content)
}
