// A deployment as in production: PostgreSQL and Temporal of its own, API and workers as processes that can be killed.
// PostgreSQL does not sync to disk: what it has committed outlives a kill -9, though not the loss of the machine.
import { randomBytes } from 'node:crypto'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client, Connection } from '@temporalio/client'
import { migrate } from '../../db/upkeep/migrate.ts'
import { admitLogin, ensureDatabase } from '../../temporal-config/stack/database.ts'
import { freePort } from '../../temporal-config/stack/ports.ts'
import { type RunningPostgres, startPostgres } from '../../temporal-config/stack/postgres.ts'
import { removeReachableFolder } from '../../temporal-config/stack/reach.ts'
import { type RunningTemporal, startTemporal } from '../../temporal-config/stack/temporal.ts'
import { findTemporal, programFolder } from '../../temporal-config/stack/temporal-program.ts'
import { temporaryFolder } from './folders.ts'
import { type Program, runProgram } from './programs.ts'
import { startProxy, type TcpProxy } from './proxy.ts'

export interface Deployment {
  /** The superuser's URL: sees every row. */
  databaseUrl: string
  apiKey: string
  /** The settings of our processes, for one that a test starts by itself. */
  env: Record<string, string>
  /** Of PostgreSQL. */
  databasePid(): number
  /** Between our processes and Temporal. */
  temporalProxy: TcpProxy
  startApi(env?: Record<string, string>): Promise<Running>
  startWorker(env?: Record<string, string>): Promise<Running>
  /** Every line that the processes have printed. */
  output(): string[]
  /** Every event of every run that Temporal knows, payloads decoded. */
  histories(): Promise<string>
  killPostgres(): Promise<void>
  restartPostgres(): Promise<void>
  killTemporal(): Promise<void>
  /** With `forget`, all that Temporal knew is gone. */
  restartTemporal(options?: { forget: boolean }): Promise<void>
  close(): Promise<void>
}

export interface Running extends Program {
  /** Of the API, or of the worker's health. */
  url: string
  kill9(): Promise<void>
  terminate(): Promise<number>
}

export async function startDeployment(): Promise<Deployment> {
  const dir = temporaryFolder('deployment')
  const [databasePort, temporalPort] = [await freePort(0), await freePort(0)]
  const program = await findTemporal({
    given: process.env.TEMPORAL_CLI,
    path: process.env.PATH ?? '',
    folder: programFolder(process.env),
    say: () => {},
  })
  const temporalOptions = {
    program,
    log_file: join(dir, 'temporal.log'),
    db_file: join(dir, 'temporal.sqlite'),
    port: temporalPort,
  }
  let postgres: RunningPostgres = await startPostgres({ dir, port: databasePort, durable: false })
  let temporal: RunningTemporal = await startTemporal(temporalOptions)
  const temporalProxy = await startProxy({ host: '127.0.0.1', port: temporal.port })
  const urls = await ensureDatabase(postgres.url, dir)
  await migrate(urls.admin_url)
  await admitLogin(postgres.url)
  const apiKey = `dk_${randomBytes(16).toString('hex')}`
  const env = {
    DATABASE_URL: urls.url,
    TEMPORAL_ADDRESS: `127.0.0.1:${temporalProxy.port}`,
    ENCRYPTION_KEYS: `k1:${randomBytes(32).toString('base64')}`,
    BOOTSTRAP_TENANT: 'acme',
    BOOTSTRAP_API_KEY: apiKey,
    EGRESS_ALLOW: '127.0.0.0/8',
    API_PORT: '0',
    WORKER_PORT: '0',
    DATA_DIR: join(dir, 'unused'),
  }
  const running: Running[] = []
  const start = async (file: string, more: Record<string, string> = {}): Promise<Running> => {
    const started = runProgram(file, [], { ...env, ...more })
    const ready = JSON.parse(await started.line((line) => line.includes('"msg":"ready"')))
    const program: Running = {
      ...started,
      url: ready.api ?? String(ready.health).replace(/\/health.*/, ''),
      async kill9() {
        started.child.kill('SIGKILL')
        await started.exited
      },
      async terminate() {
        started.child.kill('SIGTERM')
        return await started.exited
      },
    }
    running.push(program)
    return program
  }
  return {
    databaseUrl: postgres.url.replace(/\/postgres$/, '/distributor'),
    apiKey,
    env,
    databasePid: () => postgres.process.pid,
    temporalProxy,
    startApi: (more) => start('temporal-config/programs/api.ts', more),
    startWorker: (more) => start('test/support/worker-program.ts', more),
    output: () => running.flatMap(({ lines }) => lines),
    async histories() {
      const connection = await Connection.connect({ address: `127.0.0.1:${temporal.port}` })
      try {
        const client = new Client({ connection })
        const texts: string[] = []
        for await (const { workflowId, runId } of client.workflow.list()) {
          const { events } = await client.workflow.getHandle(workflowId, runId).fetchHistory()
          texts.push(decoded(JSON.stringify(events)))
        }
        return texts.join('\n')
      } finally {
        await connection.close()
      }
    },
    killPostgres: () => postgres.kill9(),
    async restartPostgres() {
      // The old backends hold the port for a moment; on another one nobody would find the new server.
      while ((await freePort(databasePort)) !== databasePort) await sleep(100)
      postgres = await startPostgres({ dir, port: databasePort, durable: false })
      if (postgres.port !== databasePort) throw new Error('PostgreSQL came back on another port')
    },
    killTemporal: () => temporal.kill9(),
    async restartTemporal({ forget } = { forget: false }) {
      if (forget) {
        for (const suffix of ['', '-shm', '-wal']) rmSync(`${temporalOptions.db_file}${suffix}`, { force: true })
      }
      while ((await freePort(temporalPort)) !== temporalPort) await sleep(100)
      temporal = await startTemporal(temporalOptions)
      if (temporal.port !== temporalPort) throw new Error('Temporal came back on another port')
    },
    async close() {
      for (const { child, exited } of running) {
        child.kill('SIGKILL')
        await exited
      }
      await temporalProxy.close()
      await temporal.stop()
      await postgres.stop()
      removeReachableFolder(dir, 'postgres')
      rmSync(dir, { recursive: true, force: true })
    },
  }
}

/** The JSON of a history with its payloads as text; they are base64 there. */
function decoded(json: string): string {
  return json.replace(/"data":"([A-Za-z0-9+/=]+)"/g, (_, data: string) => Buffer.from(data, 'base64').toString())
}
