// The SDK's native core, set up once per process: its log goes through ours, its metrics stand beside ours, and signals
// to the process are ours to handle.
import { Runtime } from '@temporalio/worker'
import type { Logger } from 'pino'
import { freePort } from '../stack/ports.ts'

export interface SdkMetrics {
  /** The SDK's own metrics in Prometheus' text form; empty when they can not be had just now. */
  read(): Promise<string>
}

/** Call once, before the first native connection of the process. */
export async function installRuntime(logger: Logger): Promise<SdkMetrics> {
  const log = logger.child({ component: 'temporal-sdk' })
  const write = (level: string, message: string, meta?: object) => {
    // The background worker has no workflows on purpose; and what the SDK calls info is its own inner life.
    const quiet = level === 'info' || message.startsWith('No workflows registered')
    log[quiet ? 'debug' : (level as 'warn')](meta ?? {}, message)
  }
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
