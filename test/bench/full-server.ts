// A full Temporal server on PostgreSQL, as one runs it in production but on one machine: built from its Go modules once,
// its two databases beside the product's own.
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, openSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { Connection } from '@temporalio/client'
import pg from 'pg'
import { freePort } from '../../temporal-config/stack/ports.ts'
import { temporalAnswers } from '../../temporal-config/stack/temporal-answers.ts'
import { programFolder, thisMachine } from '../../temporal-config/stack/temporal-program.ts'
import { lastLines } from './side.ts'

const VERSION = 'v1.31.2'
const MODULES = { server: 'go.temporal.io/server/cmd/server', sql: 'go.temporal.io/server/cmd/tools/sql' }
/** Database → its schema, by the name under which the tool carries it. */
const SCHEMAS = { temporal: 'postgresql/v12/temporal', temporal_visibility: 'postgresql/v12/visibility' }
const NAMESPACE = 'default'
/** The server keeps its members' ports in a smallint: above 32767 it does not start. */
const FIRST_PORT = 21_233
const DAY_SECONDS = 86_400
const START_WITHIN_MS = 60_000

const run = promisify(execFile)

export interface FullServer {
  address: string
  pid: number
  stop(): Promise<void>
}

/** `postgresUrl` is the superuser's. Returns once the server answers for the namespace. */
export async function startFullServer(
  postgresUrl: string,
  folder: string,
  say: (line: string) => void,
): Promise<FullServer> {
  const programs = await findPrograms(say)
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  await makeDatabases(postgresUrl, programs.sql)
  const config = join(folder, 'server.yaml')
  const port = await freePort(FIRST_PORT)
  writeFileSync(config, await configuration(new URL(postgresUrl), port), { mode: 0o600 })
  const log = join(folder, 'server.log')
  const child = launch(programs.server, ['--config-file', config, '--allow-no-auth', 'start'], log)
  const address = `127.0.0.1:${port}`
  const stop = async () => {
    if (child.exitCode !== null) return
    const exited = once(child, 'exit')
    child.stdin?.end()
    await exited
  }
  try {
    await untilRegistered(address, () => {
      if (child.exitCode !== null) throw new Error(`the Temporal server ended at start:\n${lastLines(log)}`)
    })
  } catch (error) {
    await stop()
    throw error
  }
  say(`Temporal ${VERSION} on PostgreSQL is up on port ${port}`)
  return { address, pid: child.pid!, stop }
}

/** Built where they are not there yet. */
async function findPrograms(say: (line: string) => void): Promise<Record<keyof typeof MODULES, string>> {
  const folder = join(programFolder(process.env), `temporal-server-${VERSION}`)
  const programs = { server: join(folder, 'server'), sql: join(folder, 'sql') }
  if (existsSync(programs.server) && existsSync(programs.sql)) return programs
  const go = await thisMachine.go()
  if (!go) throw new Error('--server postgres: there is no Go to build the Temporal server with')
  say(`building the Temporal server ${VERSION} with Go, once, some minutes …`)
  mkdirSync(folder, { recursive: true })
  for (const path of Object.values(MODULES)) {
    // Started in that folder, so that no module of another project is taken for the one that is built.
    await run(go.program, ['install', `${path}@${VERSION}`], {
      cwd: folder,
      env: { ...process.env, GOBIN: folder, CGO_ENABLED: '0' },
      maxBuffer: 64 * 1024 * 1024,
    })
  }
  say('building the Temporal server: done')
  return programs
}

async function makeDatabases(postgresUrl: string, tool: string): Promise<void> {
  const { hostname, port, username, password } = new URL(postgresUrl)
  const client = new pg.Client({ connectionString: postgresUrl })
  await client.connect()
  try {
    for (const database of Object.keys(SCHEMAS)) await client.query(`create database ${database}`)
  } finally {
    await client.end()
  }
  for (const [database, schema] of Object.entries(SCHEMAS)) {
    const env = { ...process.env, SQL_PASSWORD: password }
    const shared = ['--ep', hostname, '-p', port, '-u', username, '--pl', 'postgres12', '--db', database]
    await run(tool, [...shared, 'setup-schema', '-v', '0.0'], { env })
    await run(tool, [...shared, 'update-schema', '--schema-name', schema], { env })
  }
}

/** JSON is YAML, too. */
async function configuration({ hostname, port, username, password }: URL, grpcPort: number): Promise<string> {
  const store = (databaseName: string, maxConns: number) => ({
    sql: {
      pluginName: 'postgres12',
      databaseName,
      connectAddr: `${hostname}:${port}`,
      connectProtocol: 'tcp',
      user: username,
      password,
      maxConns,
      maxIdleConns: maxConns,
      maxConnLifetime: '1h',
    },
  })
  const taken = [grpcPort]
  const another = async () => {
    const free = await freePort(FIRST_PORT, taken)
    taken.push(free)
    return free
  }
  const service = async (own?: number) => ({
    rpc: { grpcPort: own ?? (await another()), membershipPort: await another(), bindOnLocalHost: true },
  })
  return JSON.stringify({
    log: { stdout: true, level: 'warn' },
    persistence: {
      defaultStore: 'default',
      visibilityStore: 'visibility',
      numHistoryShards: 4,
      datastores: { default: store('temporal', 20), visibility: store('temporal_visibility', 10) },
    },
    global: { membership: { maxJoinDuration: '30s', broadcastAddress: '127.0.0.1' } },
    services: {
      frontend: await service(grpcPort),
      matching: await service(),
      history: await service(),
      worker: await service(),
    },
    clusterMetadata: {
      enableGlobalNamespace: false,
      failoverVersionIncrement: 10,
      masterClusterName: 'active',
      currentClusterName: 'active',
      clusterInformation: {
        active: {
          enabled: true,
          initialFailoverVersion: 1,
          rpcName: 'frontend',
          rpcAddress: `127.0.0.1:${grpcPort}`,
        },
      },
    },
    dcRedirectionPolicy: { policy: 'noop' },
  })
}

/** A program that ends when its standard input closes: also when this process was killed. */
function launch(program: string, args: string[], logFile: string): ChildProcess {
  const log = openSync(logFile, 'a', 0o600)
  // A command in the background reads nothing unless it is told where from.
  const script =
    'exec 3<&0; "$0" "$@" 3<&- & server=$!; (cat <&3 > /dev/null; kill $server) & watch=$!; wait $server; kill $watch'
  return spawn('/bin/sh', ['-c', script, program, ...args], { stdio: ['pipe', log, log], detached: true })
}

async function untilRegistered(address: string, assertAlive: () => void): Promise<void> {
  const until = performance.now() + START_WITHIN_MS
  for (let registered = false; !(await temporalAnswers(address, NAMESPACE)); await sleep(100)) {
    assertAlive()
    if (performance.now() > until) throw new Error(`the Temporal server does not answer after ${START_WITHIN_MS} ms`)
    if (!registered) registered = await register(address)
  }
}

/** False while the server is not there yet. */
async function register(address: string): Promise<boolean> {
  try {
    const connection = await Connection.connect({ address, connectTimeout: '2 s' })
    try {
      await connection.workflowService.registerNamespace({
        namespace: NAMESPACE,
        workflowExecutionRetentionPeriod: { seconds: DAY_SECONDS as unknown as Long },
      })
    } finally {
      await connection.close()
    }
    return true
  } catch {
    return false
  }
}
