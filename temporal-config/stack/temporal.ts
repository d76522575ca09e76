// The embedded Temporal: the real development server with its web page, on loopback alone.
import { mkdirSync } from 'node:fs'
import { dirname } from 'node:path'
import { SEARCH_ATTRIBUTES } from '../../workflows/names.ts'
import { serverEnvironment } from '../process/settings.ts'
import { freePort } from './ports.ts'
import { listeningPorts, type ProcessId } from './processes.ts'
import { launch, type RunningServer, untilReady } from './server.ts'
import { temporalAnswers } from './temporal-answers.ts'

export interface TemporalOptions {
  /** The `temporal` program; see `findTemporal`. */
  program: string
  log_file: string
  /** The file that keeps everything; absent: nothing is kept at the end. */
  db_file?: string
  /** A taken port gives the next free one; 0, the default, any free one. */
  port?: number
  /** Port of the web page, in the same way; absent, there is none. */
  ui_port?: number
  /** Ports of its HTTP API and its metrics, in the same way; absent, any free ones. */
  http_port?: number
  metrics_port?: number
  namespace?: string
  /** Called as soon as the process exists, before it answers. */
  onProcess?: (id: ProcessId) => void
}

export interface RunningTemporal extends RunningServer {
  /** host:port for clients. */
  address: string
  port: number
  ui_port: number | undefined
  ui_url: string | undefined
  http_port: number
  metrics_port: number
  /** All that it listens on, its internal services included. */
  ports: number[]
}

/** Starts the server and returns once it answers for the namespace. */
export async function startTemporal(options: TemporalOptions): Promise<RunningTemporal> {
  for (const file of [options.log_file, options.db_file]) {
    if (file) mkdirSync(dirname(file), { recursive: true, mode: 0o700 })
  }
  const namespace = options.namespace ?? 'default'
  for (let attempt = 1; ; attempt++) {
    const port = await freePort(options.port ?? 0)
    const uiPort = options.ui_port === undefined ? undefined : await freePort(options.ui_port, [port])
    // Stated, so that they are known: the server would take any free ones.
    const httpPort = await freePort(options.http_port ?? 0, [port])
    const metricsPort = await freePort(options.metrics_port ?? 0, [port])
    const server = await launch({
      program: options.program,
      args: [
        ...flags(options, namespace, port, uiPort),
        ...['--http-port', String(httpPort)],
        ...['--metrics-port', String(metricsPort)],
      ],
      log_file: options.log_file,
      // Eager starts reached 140 to 196 a second instead of 110 to 120 with the collector at rest (measured).
      env: { ...serverEnvironment(), GOGC: '400' },
      stop_signals: ['SIGTERM'],
    })
    options.onProcess?.(server.process)
    const address = `127.0.0.1:${port}`
    try {
      await untilReady(server, 'Temporal', options.log_file, 60_000, () => temporalAnswers(address, namespace))
      const uiUrl = uiPort === undefined ? undefined : `http://127.0.0.1:${uiPort}`
      const stated = [port, uiPort, httpPort, metricsPort].filter((each) => each !== undefined)
      const ports = [...new Set([...stated, ...listeningPorts(server.process)])]
      return {
        ...server,
        address,
        port,
        ui_port: uiPort,
        ui_url: uiUrl,
        http_port: httpPort,
        metrics_port: metricsPort,
        ports,
      }
    } catch (error) {
      // A port that was free may be taken before it is used.
      if (attempt === 3) throw error
    }
  }
}

/**
 * A write-ahead log that is synced only at checkpoints: half the processor time per distribution. Committed data
 * survives a kill of Temporal. If the machine is lost, the sweep starts the distributions that are open in the rows.
 */
const FILE_PRAGMAS = ['journal_mode=wal', 'synchronous=normal'].flatMap((each) => ['--sqlite-pragma', each])

function flags(options: TemporalOptions, namespace: string, port: number, uiPort: number | undefined): string[] {
  return [
    ...['server', 'start-dev', '--ip', '127.0.0.1', '--port', String(port), '--log-level', 'warn'],
    ...(uiPort === undefined ? ['--headless'] : ['--ui-port', String(uiPort)]),
    ...(options.db_file ? ['--db-filename', options.db_file, ...FILE_PRAGMAS] : []),
    ...(namespace === 'default' ? [] : ['--namespace', namespace]),
    ...SEARCH_ATTRIBUTES.flatMap((name) => ['--search-attribute', `${name}=Keyword`]),
    // Without the two, one tenant's queue of runs holds up everybody else's (median 3.7 s instead of 0.9 s, measured).
    ...['--dynamic-config-value', 'matching.useNewMatcher=true'],
    ...['--dynamic-config-value', 'matching.enableFairness=true'],
    // A first attempt goes to the worker that asked for it, without a poll: p50 of submission to arrival 45 ms instead of
    // 91 ms unloaded, with no change to the rate when saturated (measured).
    ...['--dynamic-config-value', 'system.enableActivityEagerExecution=true'],
  ]
}
