// `npm run bench -- --check`: the measurements that have a bound. Each prints its numbers and fails beyond its bound.
import { type ChildProcess, spawn } from 'node:child_process'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

export interface Check {
  /** The exit code: 0 when all bounds were kept. */
  ended: Promise<number>
  stop(): Promise<void>
}

/** Starts the measurements, one after another, in a process of their own. */
export function startCheck(): Check {
  const vitest = join(dirname(createRequire(import.meta.url).resolve('vitest/package.json')), 'vitest.mjs')
  const config = fileURLToPath(new URL('vitest.config.ts', import.meta.url))
  const child: ChildProcess = spawn(process.execPath, [vitest, 'run', '--config', config], { stdio: 'inherit' })
  const ended = new Promise<number>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code) => resolve(code ?? 1))
  })
  return {
    ended,
    async stop() {
      child.kill('SIGTERM')
      await ended
    },
  }
}
