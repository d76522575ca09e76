// One side of the comparison, as the rounds see it.
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { openSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { fileURLToPath, pathToFileURL } from 'node:url'
import type { Load, LoadResult } from './load.ts'

export interface Side {
  pid: number
  /** The workflow type by which Temporal counts its runs. */
  workflow: string
  /** Submits, and returns once everything has arrived. */
  run(load: Load, prefix: string): Promise<LoadResult>
  /** Called once all runs are closed: throws unless everything is as it must be. */
  check(result: LoadResult): Promise<Checked>
  close(): Promise<void>
}

export interface Checked {
  /** The product's alone: from each row's creation to its final state, on the database's clock. */
  final_ms?: number[]
}

const tsx = pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href
const root = fileURLToPath(new URL('../../', import.meta.url))

/** A program of ours in a process of its own, which ends with this one; its output goes to `log`. */
export function startProgram(
  file: string,
  options: { args?: string[]; env: NodeJS.ProcessEnv; log: string; node_options?: string[] },
): ChildProcess {
  // A file, not a pipe: the log is written synchronously, and must not wait for this process to read it.
  const log = openSync(options.log, 'a', 0o600)
  return fork(fileURLToPath(new URL(file, import.meta.url)), options.args ?? [], {
    cwd: root,
    env: options.env,
    execArgv: [
      ...(options.node_options ?? []),
      '--import',
      tsx,
      '--import',
      new URL('end-with-parent.mjs', import.meta.url).href,
    ],
    stdio: ['ignore', log, log, 'ipc'],
    serialization: 'advanced',
  })
}

/** Ends it in order, and returns once it is gone. */
export async function endProgram(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exited = once(child, 'exit')
  child.kill('SIGTERM')
  await exited
}

/** The end of a log, for an error's text: the log itself goes with the run. */
export function lastLines(log: string): string {
  return readFileSync(log, 'utf8')
    .trimEnd()
    .split('\n')
    .slice(-15)
    .map((line) => line.slice(0, 300))
    .join('\n')
}
