// A program: keeps the embedded servers of one DATA_DIR. One JSON line on stdin says what to run. It reports by JSON
// lines on stdout. When stdin closes, also because its starter was killed, it ends the servers, Temporal first.
import { accessSync, constants, mkdirSync, rmSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { wholeEnvironment } from '../process/settings.ts'
import { type HeldLock, type Holder, LockHeld, type StackAddresses, takeLock } from './lock.ts'
import { startPostgres } from './postgres.ts'
import { endProcess, identify, type ProcessId } from './processes.ts'
import { removeReachableFolder } from './reach.ts'
import type { RunningServer } from './server.ts'
import { type RunningTemporal, startTemporal } from './temporal.ts'
import { findTemporal, programFolder } from './temporal-program.ts'

/** The line on stdin. */
export interface SupervisorOrder {
  data_dir: string
  /** The folder is removed at the end, also when the starter was killed. */
  temporary: boolean
  holder: Holder
  postgres?: { port: number; durable: boolean }
  temporal?: { cli?: string | undefined; port: number; ui_port?: number | undefined; namespace: string; keep: boolean }
}

/** The lines on stdout. */
export type SupervisorReport =
  | { say: string }
  | { ready: StackAddresses }
  | { restarted: string }
  | { refused: string }
  | { failed: string }

const RESTARTS = 5
const RESTARTS_WITHIN_MS = 60_000

type Name = 'temporal' | 'postgres'

/** The servers that answer. */
const running = new Map<Name, RunningServer>()
/** Every server's newest process, also while it is starting. */
const processes = new Map<Name, ProcessId>()
/** Where they answer. */
const addresses: StackAddresses = {}
/** All of them do. */
let ready = false
let lock: HeldLock | undefined
let temporary: string | undefined
let stopping: Promise<void> | undefined

function report(line: SupervisorReport): void {
  process.stdout.write(`${JSON.stringify(line)}\n`)
}
const say = (line: string) => report({ say: line })

/** Ends the servers in reverse order of need, then this process. */
function stop(code: number): Promise<void> {
  stopping ??= (async () => {
    for (const name of ['temporal', 'postgres'] as const) {
      await running.get(name)?.stop()
      const starting = processes.get(name)
      if (starting) await endProcess(starting, ['SIGTERM'], 20_000)
    }
    lock?.release()
    if (temporary) {
      removeReachableFolder(join(temporary, 'postgres'), 'postgres')
      rmSync(temporary, { recursive: true, force: true })
    }
    process.exit(code)
  })()
  return stopping
}

function fail(error: unknown): void {
  if (stopping) return
  const { message } = error as Error
  report(error instanceof LockHeld ? { refused: message } : { failed: message })
  void stop(1)
}

/** Records a process from its start; a process that starts after the end has begun is ended at once. */
function seen(name: Name, id: ProcessId): void {
  if (stopping) {
    process.kill(id.pid, 'SIGKILL')
    throw new Error('the servers are being stopped')
  }
  processes.set(name, id)
  lock?.record(name, id)
}

/** Starts a server, and restarts it on the same ports if it ends by itself. Calls `up` each time that it answers. */
async function keep<T extends RunningServer & { port: number }>(
  name: Name,
  start: (port: number | undefined) => Promise<T>,
  up: (server: T) => void,
): Promise<T> {
  const first = await start(undefined)
  const ends: number[] = []
  const watch = (server: RunningServer) => {
    running.set(name, server)
    void server.exited.then(async ({ code, signal }) => {
      if (stopping) return
      running.delete(name)
      ends.push(performance.now())
      const often = ends.filter((end) => end > performance.now() - RESTARTS_WITHIN_MS).length > RESTARTS
      if (often) return fail(new Error(`${name} ended ${RESTARTS + 1} times within a minute`))
      say(`${name} ended (${signal ?? `code ${code}`}); starting it again`)
      try {
        const again = await start(first.port)
        if (again.port !== first.port) {
          await again.stop()
          throw new Error(`${name} cannot start again: port ${first.port} was taken by another program`)
        }
        watch(again)
        up(again)
        if (ready) lock?.publish(addresses)
        report({ restarted: name })
      } catch (error) {
        fail(error)
      }
    })
  }
  watch(first)
  up(first)
  return first
}

async function run(order: SupervisorOrder): Promise<void> {
  const dataDir = resolve(order.data_dir)
  mkdirSync(dataDir, { recursive: true, mode: 0o711 })
  lock = await takeLock(dataDir, order.holder, identify(process.pid)!, say)
  if (order.temporary) temporary = dataDir
  await Promise.all([
    order.postgres && keepPostgres(dataDir, order.postgres),
    order.temporal && keepTemporal(dataDir, order.temporal),
  ])
  ready = true
  lock.publish(addresses)
  report({ ready: addresses })
}

function keepPostgres(dataDir: string, wanted: NonNullable<SupervisorOrder['postgres']>) {
  return timed('PostgreSQL', () =>
    keep(
      'postgres',
      (port) =>
        startPostgres({
          dir: join(dataDir, 'postgres'),
          port: port ?? wanted.port,
          durable: wanted.durable,
          onProcess: (id) => seen('postgres', id),
          say,
        }),
      ({ url, port }) => {
        addresses.postgres = { url, port }
      },
    ),
  )
}

async function keepTemporal(dataDir: string, wanted: NonNullable<SupervisorOrder['temporal']>) {
  const program = await findTemporal({
    given: wanted.cli,
    path: wholeEnvironment().PATH ?? '',
    folder: writableFolder(programFolder(wholeEnvironment()), join(dataDir, 'programs')),
    say,
  })
  // A restart uses the same ports: clients keep their addresses, and the guard against own servers stays correct.
  let before: Pick<RunningTemporal, 'ui_port' | 'http_port' | 'metrics_port'> | undefined
  return timed('Temporal', () =>
    keep(
      'temporal',
      (port) =>
        startTemporal({
          program,
          log_file: join(dataDir, 'temporal', 'temporal.log'),
          ...(wanted.keep ? { db_file: join(dataDir, 'temporal', 'temporal.db') } : {}),
          port: port ?? wanted.port,
          ...(wanted.ui_port === undefined ? {} : { ui_port: before?.ui_port ?? wanted.ui_port }),
          ...(before && { http_port: before.http_port, metrics_port: before.metrics_port }),
          namespace: wanted.namespace,
          onProcess: (id) => seen('temporal', id),
        }),
      (server) => {
        const { address, ui_url, ports } = server
        addresses.temporal = { address, ui_url, ports }
        before = server
      },
    ),
  )
}

/** The first one, unless this user has no home to write in. */
function writableFolder(first: string, second: string): string {
  try {
    mkdirSync(first, { recursive: true })
    accessSync(first, constants.W_OK)
    return first
  } catch {
    return second
  }
}

async function timed<T extends { port: number }>(name: string, start: () => Promise<T>): Promise<T> {
  const began = performance.now()
  const server = await start()
  say(`${name} is up on port ${server.port} after ${((performance.now() - began) / 1000).toFixed(1)} s`)
  return server
}

// The parent process may be gone. Then the servers must be stopped, and nothing needs to be printed.
process.stdout.on('error', () => {})
process.on('SIGINT', () => {})
process.on('SIGHUP', () => {})
// At a shutdown of the machine all processes get this signal at once; the API and the workers drain first, which closes stdin.
process.on('SIGTERM', () => setTimeout(() => void stop(0), 45_000))

const input = createInterface({ input: process.stdin })
input.once('line', (line) => {
  run(JSON.parse(line) as SupervisorOrder).catch(fail)
})
input.once('close', () => void stop(0))
