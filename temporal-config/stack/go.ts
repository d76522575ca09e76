// Building a program with Go, for machines that can reach a registry of Go modules and nothing else.
import { execFile, spawn } from 'node:child_process'
import { chmodSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fetchingEnvironment } from '../process/settings.ts'

export interface Go {
  program: string
  major: number
  minor: number
}

/** The Go compiler of this machine, or undefined. */
export async function findGo(): Promise<Go | undefined> {
  for (const program of ['go', '/usr/local/go/bin/go']) {
    const text = await new Promise<string>((resolve) => {
      execFile(program, ['env', 'GOVERSION'], { timeout: 30_000 }, (error, stdout) => resolve(error ? '' : stdout))
    })
    const version = /^go(\d+)\.(\d+)/.exec(text)
    if (version) return { program, major: Number(version[1]), minor: Number(version[2]) }
  }
  return undefined
}

export interface GoBuild {
  /** `module/path/of/the/command@version`. */
  target: string
  folder: string
  /** What the program is to be called in `folder`. */
  name: string
  say: (line: string) => void
}

/** Builds the command, without C, and returns its path; throws with the last lines of Go's own words. */
export async function buildWithGo(goProgram: string, { target, folder, name, say }: GoBuild): Promise<string> {
  const began = performance.now()
  // Apart, for some commands are called `server`.
  const bin = mkdtempSync(join(folder, 'build-'))
  const env = { ...fetchingEnvironment(), GOBIN: bin, CGO_ENABLED: '0' }
  const child = spawn(goProgram, ['install', target], { env, cwd: folder, stdio: ['ignore', 'ignore', 'pipe'] })
  const ticking = setInterval(() => {
    say(`still building ${name} (${Math.round((performance.now() - began) / 1000)} s)`)
  }, 20_000)
  try {
    await new Promise<void>((resolve, reject) => {
      let errors = ''
      child.stderr.on('data', (chunk) => {
        errors = (errors + chunk).slice(-4000)
      })
      child.once('error', reject)
      child.once('close', (code) => {
        if (code === 0) resolve()
        else reject(new Error(errors.trim().split('\n').slice(-3).join(' ') || `code ${code}`))
      })
    })
    const program = join(folder, name)
    const built = join(bin, readdirSync(bin)[0]!)
    chmodSync(built, 0o755)
    renameSync(built, program)
    return program
  } finally {
    clearInterval(ticking)
    rmSync(bin, { recursive: true, force: true })
  }
}
