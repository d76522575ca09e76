// How a process reaches Temporal. It reads the usual Temporal environment settings (TLS, API key, configuration file).
import { setTimeout as sleep } from 'node:timers/promises'
import { Connection, type ConnectionLike } from '@temporalio/client'
import { loadClientConnectConfig } from '@temporalio/envconfig'
import type { NativeConnection, NativeConnectionOptions } from '@temporalio/worker'
import type { Logger } from 'pino'

export interface TemporalAddress {
  address: string
  namespace: string
  /** The environment with Temporal's own settings; absent for the embedded server, which does not use them. */
  environment?: NodeJS.ProcessEnv
  /** Whether the server divides its queues by weight. The embedded server does. */
  fairness?: boolean
}

function connectOptions({ address, environment }: TemporalAddress): NativeConnectionOptions {
  if (!environment) return { address }
  const overridden = Object.fromEntries(Object.entries(environment).filter(([, value]) => value !== undefined))
  const { connectionOptions } = loadClientConnectConfig({ overrideEnvVars: overridden as Record<string, string> })
  return { ...connectionOptions, address } as NativeConnectionOptions
}

/** For the API alone: answers at once, and connects when it is first used. */
export function connectLazily(temporal: TemporalAddress): Connection {
  return Connection.lazy({ ...connectOptions(temporal), connectTimeout: '2 s' } as Parameters<
    typeof Connection.lazy
  >[0])
}

/**
 * For a process with a worker: tries until a server answers or `signal` aborts. A native connection cannot be made
 * while no server listens, so callers must be able to work without it until then.
 * @throws the abort reason
 */
export async function connectPatiently(
  temporal: TemporalAddress,
  logger: Logger,
  signal: AbortSignal,
): Promise<NativeConnection> {
  // The SDK's worker is large, and the API alone does without it.
  const { NativeConnection } = await import('@temporalio/worker')
  for (let wait = 250, waiting = false; ; wait = Math.min(wait * 2, 5000)) {
    try {
      return await NativeConnection.connect(connectOptions(temporal))
    } catch (error) {
      if (!waiting) logger.warn({ err: error }, 'Temporal does not answer, trying again')
      waiting = true
      await sleep(wait, undefined, { signal })
    }
  }
}

export type { ConnectionLike }
