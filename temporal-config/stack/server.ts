// One server program: it runs in its own session, writes its output to a file, and is stopped or killed from here.
import { spawn } from 'node:child_process'
import { closeSync, fstatSync, openSync, readFileSync, truncateSync } from 'node:fs'
import { setTimeout as wait } from 'node:timers/promises'
import { endProcess, identify, type ProcessId } from './processes.ts'

const LOG_LIMIT_BYTES = 20 * 1024 * 1024

export interface Exit {
  code: number | null
  signal: NodeJS.Signals | null
}

export interface RunningServer {
  readonly process: ProcessId
  /** Settles when the process has ended, for any reason. */
  readonly exited: Promise<Exit>
  /** Stops it gracefully: it keeps everything that it has accepted. */
  stop(): Promise<void>
  /** Kills it at once, like a power failure. */
  kill9(): Promise<void>
}

export interface ServerCommand {
  program: string
  args: string[]
  /** A file for stdout and stderr. A pipe would end the server when its reader dies first. */
  log_file: string
  env: NodeJS.ProcessEnv
  user?: { uid: number; gid: number }
  /** The signals of a graceful stop, 20 s apart. */
  stop_signals: NodeJS.Signals[]
}

/**
 * Starts the program in its own session, so that Ctrl-C in a terminal does not end it before the processes that need it. It
 * does not keep this process alive.
 */
export async function launch(command: ServerCommand): Promise<RunningServer> {
  const log = openSync(command.log_file, 'a', 0o600)
  if (fstatSync(log).size > LOG_LIMIT_BYTES) truncateSync(command.log_file)
  const child = spawn(command.program, command.args, {
    ...command.user,
    cwd: '/',
    env: command.env,
    detached: true,
    stdio: ['ignore', log, log],
  })
  closeSync(log)
  const exited = new Promise<Exit>((resolve) => child.once('exit', (code, signal) => resolve({ code, signal })))
  await new Promise<void>((resolve, reject) => {
    child.once('spawn', resolve)
    child.once('error', reject)
  })
  child.unref()
  const id = identify(child.pid!) ?? { pid: child.pid!, start: 'ended at once' }
  const end = async (signals: NodeJS.Signals[]) => {
    child.ref()
    await endProcess(id, signals, 20_000)
    await exited
  }
  return { process: id, exited, stop: () => end(command.stop_signals), kill9: () => end([]) }
}

/**
 * Asks `answers` every 50 ms until it is true. Throws, with the end of the log, if the server ends before that, or
 * after `timeoutMs` (the server is then killed).
 */
export async function untilReady(
  server: RunningServer,
  name: string,
  logFile: string,
  timeoutMs: number,
  answers: () => Promise<boolean>,
): Promise<void> {
  let ended: Exit | undefined
  void server.exited.then((exit) => {
    ended = exit
  })
  const until = performance.now() + timeoutMs
  while (!(await answers())) {
    if (ended) {
      throw new Error(`${name} ended at start (${ended.signal ?? `code ${ended.code}`}):\n${lastLines(logFile)}`)
    }
    if (performance.now() > until) {
      await server.kill9()
      throw new Error(`${name} does not answer after ${timeoutMs / 1000} s:\n${lastLines(logFile)}`)
    }
    await wait(50)
  }
}

function lastLines(file: string): string {
  try {
    return readFileSync(file, 'utf8').slice(-4000).split('\n').slice(-15).join('\n').trim()
  } catch {
    return '(no log)'
  }
}
