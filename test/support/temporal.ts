// The run's Temporal server for one test: connections that close with the test, and its own task queue.
// Time cannot be skipped: the server that does so is a program of its own, which the SDK would download.
import { randomUUID } from 'node:crypto'
import { TestWorkflowEnvironment } from '@temporalio/testing'
import { DefaultLogger, Runtime } from '@temporalio/worker'

// The SDK logs every change of a worker's state and every failed activity; a test's output is for its failures.
Runtime.install({ logger: new DefaultLogger('ERROR'), shutdownSignals: [] })

export const NAMESPACE = 'default'

/** Connects a client and a worker's connection to the run's server; `teardown` them in `afterAll`. */
export async function connectTemporal(): Promise<TestWorkflowEnvironment> {
  // Set by test/support/global-setup.ts.
  const address = process.env.TEST_TEMPORAL_ADDRESS
  if (!address) throw new Error('TEST_TEMPORAL_ADDRESS is not set: run the tests with vitest and its global setup')
  return await TestWorkflowEnvironment.createFromExistingServer({ address, namespace: NAMESPACE })
}

/** A name for a task queue, or anything else, that no other test uses. */
export function uniqueQueue(prefix = 'test'): string {
  return `${prefix}-${randomUUID()}`
}
