// Other versions of Node than the one that runs the tests, from npm packages that contain only the Node program.
import { execFile } from 'node:child_process'
import { existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { alone } from '../../temporal-config/alone.mjs'
import { programFolder } from '../../temporal-config/stack/temporal-program.ts'

const run = promisify(execFile)

/** Releases that the product must run on besides the oldest one (package.json, `engines`). Raise them now and then. */
export const OTHER_NODES = ['22.23.5', '24.22.3'] as const

const PACKAGED = new Set(['linux-x64', 'linux-arm64', 'darwin-x64', 'darwin-arm64'])

/** Whether npm has a package with Node for this machine. */
export const hasNodePackage = PACKAGED.has(`${process.platform}-${process.arch}`)

/** The path of `node` in this version; installed into the user's cache first where it is missing. */
export async function obtainNode(version: string): Promise<string> {
  const name = `node-${process.platform}-${process.arch}`
  const folder = join(programFolder(process.env), `node-${version}`)
  const program = join(folder, 'node_modules', name, 'bin', 'node')
  const say = (line: string) => process.stderr.write(`${line}\n`)
  mkdirSync(folder, { recursive: true })
  await alone(
    join(folder, 'install.lock'),
    `installing Node ${version}`,
    async () => {
      if (existsSync(program)) return
      const options = ['--no-save', '--no-audit', '--no-fund', '--ignore-scripts', '--loglevel=error']
      await run('npm', ['install', '--prefix', folder, ...options, `${name}@${version}`])
    },
    say,
  )
  return program
}
