// What a test needs of the run's Temporal server: connections that end with it, and a task queue nobody else uses.
import { randomUUID } from 'node:crypto'
import { Client, Connection } from '@temporalio/client'
import { DefaultLogger, NativeConnection, Runtime } from '@temporalio/worker'

// The SDK tells every change of a worker's state and every failed activity; a test's output is for its failures.
Runtime.install({ logger: new DefaultLogger('ERROR'), shutdownSignals: [] })

export interface TestTemporal {
  address: string
  namespace: 'default'
  client: Client
  /** For workers. */
  nativeConnection: NativeConnection
  close(): Promise<void>
}

/** The address of the run's server, as test/support/global-setup.ts gives it. */
export function temporalAddress(): string {
  const address = process.env.TEST_TEMPORAL_ADDRESS
  if (!address) throw new Error('TEST_TEMPORAL_ADDRESS is not set: run the tests with vitest and its global setup')
  return address
}

/** Connects a client and a worker's connection; close them in `afterAll`. */
export async function connectTemporal(address = temporalAddress()): Promise<TestTemporal> {
  const [connection, nativeConnection] = await Promise.all([
    Connection.connect({ address }),
    NativeConnection.connect({ address }),
  ])
  return {
    address,
    namespace: 'default',
    client: new Client({ connection, namespace: 'default' }),
    nativeConnection,
    async close() {
      await connection.close()
      await nativeConnection.close()
    },
  }
}

/** A name for a task queue, or anything else, that no other test uses. */
export function uniqueQueue(prefix = 'test'): string {
  return `${prefix}-${randomUUID()}`
}
