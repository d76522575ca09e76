// Runs the product's programs in tests as a user would run them.
import { type ChildProcess, spawn } from 'node:child_process'
import { createRequire } from 'node:module'
import { fileURLToPath, pathToFileURL } from 'node:url'

const root = fileURLToPath(new URL('../../', import.meta.url))
const tsx = pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href

export interface Program {
  child: ChildProcess
  pid: number
  /** All lines of stdout and stderr so far. */
  lines: string[]
  /** The first line, past or future, that `matches`; rejects when the program ends before one comes. */
  line(matches: (line: string) => boolean): Promise<string>
  /** The exit code; -1 when a signal ended it. */
  exited: Promise<number>
}

/** Runs a TypeScript file of this project, with this process's environment and `env`. */
export function runProgram(file: string, args: string[] = [], env: Record<string, string> = {}): Program {
  return follow(
    spawn(process.execPath, ['--import', tsx, file, ...args], {
      cwd: root,
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    }),
  )
}

/** Runs any command in the project's folder. */
export function runCommand(command: string, args: string[], env: Record<string, string> = {}): Program {
  return follow(spawn(command, args, { cwd: root, env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] }))
}

function follow(child: ChildProcess): Program {
  const lines: string[] = []
  const waiting = new Set<() => void>()
  const tell = () => {
    for (const look of waiting) look()
  }
  for (const stream of [child.stdout!, child.stderr!]) {
    let rest = ''
    stream.setEncoding('utf8').on('data', (chunk: string) => {
      const parts = (rest + chunk).split('\n')
      rest = parts.pop() ?? ''
      lines.push(...parts)
      tell()
    })
  }
  let ended = false
  const exited = new Promise<number>((resolve) => {
    child.once('close', (code) => {
      ended = true
      resolve(code ?? -1)
      tell()
    })
  })
  const line = (matches: (line: string) => boolean) =>
    new Promise<string>((resolve, reject) => {
      const look = () => {
        const found = lines.find(matches)
        if (found !== undefined) resolve(found)
        else if (ended) reject(new Error(`the program ended:\n${lines.slice(-30).join('\n')}`))
        else return
        waiting.delete(look)
      }
      waiting.add(look)
      look()
    })
  return { child, pid: child.pid!, lines, line, exited }
}
