// The SDK's native core, set up once per process: its log goes to our logger, its metrics are served with ours, and
// signals to the process are handled by us.
import { Runtime } from '@temporalio/worker'
import type { Logger } from 'pino'
import { freePort } from '../stack/ports.ts'

export interface SdkMetrics {
  /** The SDK's own metrics in Prometheus' text form; empty if they cannot be read at the moment. */
  read(): Promise<string>
}

/**
 * The level of a line of the SDK. Its info lines only describe its internal work. The activities log their failures
 * themselves. The background worker has no workflows on purpose.
 */
export function levelOf(level: string, message: string): 'trace' | 'debug' | 'warn' | 'error' {
  const quiet = level === 'info' || message === 'Activity failed' || message.startsWith('No workflows registered')
  return quiet ? 'debug' : (level as 'warn')
}

/** Call once, before the first native connection of the process. */
export async function installRuntime(logger: Logger): Promise<SdkMetrics> {
  const log = logger.child({ component: 'temporal-sdk' })
  const write = (level: string, message: string, meta?: object) => log[levelOf(level, message)](meta ?? {}, message)
  const port = await freePort(0)
  Runtime.install({
    shutdownSignals: [],
    logger: {
      log: (level, message, meta) => write(level.toLowerCase(), message, meta),
      trace: (message, meta) => write('trace', message, meta),
      debug: (message, meta) => write('debug', message, meta),
      info: (message, meta) => write('info', message, meta),
      warn: (message, meta) => write('warn', message, meta),
      error: (message, meta) => write('error', message, meta),
    },
    telemetryOptions: {
      logging: { forward: {}, filter: { core: 'WARN', other: 'ERROR' } },
      metrics: { prometheus: { bindAddress: `127.0.0.1:${port}` } },
    },
  })
  return {
    async read() {
      try {
        const response = await fetch(`http://127.0.0.1:${port}/metrics`, { signal: AbortSignal.timeout(2000) })
        return await response.text()
      } catch {
        return ''
      }
    },
  }
}
