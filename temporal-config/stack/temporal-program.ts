// Where the `temporal` program comes from: named, found, fetched by the SDK, or built with Go, in this order.
import { execFile, spawn } from 'node:child_process'
import { accessSync, constants, mkdirSync, readdirSync, rmSync, statSync } from 'node:fs'
import { homedir } from 'node:os'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { alone } from '../alone.mjs'
import { fetchingEnvironment } from '../process/settings.ts'
import { GO_VERSION_BUILT, temporalLock } from './early-temporal.mjs'
import { buildWithGo, findGo, type Go } from './go.mjs'

/** Prints one line for the person at the terminal. */
export type Say = (line: string) => void

/** What the search asks of the machine; tests put their own in. */
export interface Machine {
  /** Whether the file is a `temporal` that can run the development server. */
  works(program: string): Promise<boolean>
  /** Downloads into `folder` and returns the program; throws if the download fails. */
  download(folder: string): Promise<string>
  /** The Go compiler's program and version, or undefined. */
  go(): Promise<Go | undefined>
  build(goProgram: string, folder: string, say: Say): Promise<string>
}

export interface Search {
  /** The setting TEMPORAL_CLI. */
  given?: string | undefined
  /** The variable PATH. */
  path: string
  /** The folder of fetched programs, shared by all projects of this user. */
  folder: string
  say: Say
}

/** `~/.cache/distributor`, or `distributor` in XDG_CACHE_HOME. */
export function programFolder(env: NodeJS.ProcessEnv): string {
  return join(env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'distributor')
}

/** The program's path. Throws with all that was tried when there is none. */
export async function findTemporal(search: Search, machine: Machine = thisMachine): Promise<string> {
  if (search.given) {
    const named = /[/\\]/.test(search.given) ? [search.given] : onPath(search.path, search.given)
    for (const program of named) if (await machine.works(program)) return program
    throw new Error(`TEMPORAL_CLI: ${search.given} is not a temporal program that can run a server`)
  }
  const name = process.platform === 'win32' ? 'temporal.exe' : 'temporal'
  const kept = join(search.folder, name)
  for (const program of [...onPath(search.path, name), kept]) {
    if (await machine.works(program)) return program
  }
  mkdirSync(search.folder, { recursive: true })
  // Another process may be fetching it at the moment, such as an installation of the packages.
  return await alone(
    temporalLock(search.folder),
    'getting Temporal',
    async () => ((await machine.works(kept)) ? kept : await obtainTemporal(search, machine)),
    search.say,
  )
}

async function obtainTemporal(search: Search, machine: Machine): Promise<string> {
  const tried = ['no `temporal` on PATH']
  try {
    return await timed(search.say, "fetching Temporal by the SDK's download", () => machine.download(search.folder))
  } catch (error) {
    tried.push(`the download failed: ${(error as Error).message}`)
  }
  const go = await machine.go()
  if (!go) tried.push('there is no Go to build it with')
  else if (go.major === 1 && go.minor < 25) tried.push(`Go ${go.major}.${go.minor} is older than 1.25`)
  else {
    try {
      const doing = `building Temporal ${GO_VERSION_BUILT} with Go, once, about 2 to 3 minutes`
      return await timed(search.say, doing, () => machine.build(go.program, search.folder, search.say))
    } catch (error) {
      tried.push(`the build failed: ${(error as Error).message}`)
    }
  }
  throw new Error(`no Temporal server: ${tried.join('; ')}. Give TEMPORAL_CLI or TEMPORAL_ADDRESS`)
}

function onPath(path: string, name: string): string[] {
  return path
    .split(delimiter)
    .filter(Boolean)
    .map((folder) => join(folder, name))
}

async function timed<T>(say: Say, doing: string, work: () => Promise<T>): Promise<T> {
  const began = performance.now()
  const seconds = () => `${((performance.now() - began) / 1000).toFixed(1)} s`
  say(`${doing} …`)
  try {
    const result = await work()
    say(`${doing}: done in ${seconds()}`)
    return result
  } catch (error) {
    say(`${doing}: given up after ${seconds()}`)
    throw error
  }
}

const SILENCE_MS = 10_000

/** The real machine. */
export const thisMachine: Machine = {
  works(program) {
    try {
      accessSync(program, constants.X_OK)
    } catch {
      return Promise.resolve(false)
    }
    return new Promise((resolve) => {
      execFile(program, ['server', 'start-dev', '--help'], { timeout: 30_000 }, (error, stdout) =>
        resolve(!error && stdout.includes('--dynamic-config-value')),
      )
    })
  },

  // In a separate process, which can be killed: the SDK's download has no deadline.
  download(folder) {
    const script = fileURLToPath(new URL('download-temporal.mjs', import.meta.url))
    const child = spawn(process.execPath, [script, folder], {
      env: fetchingEnvironment(),
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    return new Promise((resolve, reject) => {
      let output = ''
      let errors = ''
      let seen = 0
      let lastByte = performance.now()
      let silent = false
      const watch = setInterval(() => {
        const size = sizeOf(folder)
        if (size !== seen) lastByte = performance.now()
        seen = size
        silent = performance.now() - lastByte > SILENCE_MS
        if (silent) child.kill('SIGKILL')
      }, 250)
      child.stdout.on('data', (chunk) => {
        output += chunk
      })
      child.stderr.on('data', (chunk) => {
        errors += chunk
      })
      child.once('error', reject)
      child.once('close', (code) => {
        clearInterval(watch)
        if (code === 0) return resolve(output.trim())
        for (const part of readdirSync(folder)) if (part.endsWith('.downloading')) rmSync(join(folder, part))
        reject(new Error(silent ? 'no byte for 10 s' : (errors.trim().split('\n').at(-1) ?? `code ${code}`)))
      })
    })
  },

  go: findGo,

  build(goProgram, folder, say) {
    const target = `github.com/temporalio/cli/cmd/temporal@${GO_VERSION_BUILT}`
    return buildWithGo(goProgram, {
      target,
      folder,
      name: 'temporal',
      env: fetchingEnvironment(),
      say,
    })
  },
}

function sizeOf(folder: string): number {
  let sum = 0
  for (const name of readdirSync(folder)) {
    try {
      sum += statSync(join(folder, name)).size
    } catch {
      // Renamed between the two checks.
    }
  }
  return sum
}
