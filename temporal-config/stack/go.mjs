// Building a program with Go, for machines that can reach a registry of Go modules and nothing else. Needs nothing but
// Node, so that it can run while the packages are installed.
import { execFile, spawn } from 'node:child_process'
import { chmodSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { alive } from '../alone.mjs'

/** @type {import('./go.d.mts').findGo} */
export async function findGo() {
  for (const program of ['go', '/usr/local/go/bin/go']) {
    const text = await new Promise((resolve) => {
      execFile(program, ['env', 'GOVERSION'], { timeout: 30_000 }, (error, stdout) => resolve(error ? '' : stdout))
    })
    const version = /^go(\d+)\.(\d+)/.exec(text)
    if (version) return { program, major: Number(version[1]), minor: Number(version[2]) }
  }
  return undefined
}

/** @type {import('./go.d.mts').buildWithGo} */
export async function buildWithGo(goProgram, { target, folder, name, env, say }) {
  const began = performance.now()
  removeLeftovers(folder)
  // In a separate folder: some commands are called `server`.
  const bin = mkdtempSync(join(folder, `build-${process.pid}-`))
  const child = spawn(goProgram, ['install', target], {
    env: { ...env, GOBIN: bin, CGO_ENABLED: '0' },
    cwd: folder,
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  const ticking = setInterval(() => {
    say(`still building ${name} (${Math.round((performance.now() - began) / 1000)} s)`)
  }, 20_000)
  try {
    await new Promise((resolve, reject) => {
      let errors = ''
      child.stderr.on('data', (chunk) => {
        errors = (errors + chunk).slice(-4000)
      })
      child.once('error', reject)
      child.once('close', (code) => {
        if (code === 0) resolve(undefined)
        else reject(new Error(errors.trim().split('\n').slice(-3).join(' ') || `code ${code}`))
      })
    })
    const program = join(folder, name)
    const built = join(bin, readdirSync(bin)[0])
    chmodSync(built, 0o755)
    renameSync(built, program)
    return program
  } finally {
    clearInterval(ticking)
    rmSync(bin, { recursive: true, force: true })
  }
}

/** A builder that was killed leaves its folder behind. The name has its process id. */
function removeLeftovers(folder) {
  for (const name of readdirSync(folder)) {
    const pid = /^build-(\d+)-/.exec(name)?.[1]
    if (pid && !alive(Number(pid))) rmSync(join(folder, name), { recursive: true, force: true })
  }
}
