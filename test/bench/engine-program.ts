// A program: the bare engine's worker, and the client that starts its workflows, in one process and on one connection,
// as in the product. Told by messages what to run, it answers with what it measured.
import { fileURLToPath } from 'node:url'
import { Client } from '@temporalio/client'
import { bundleWorkflowCode, DefaultLogger, NativeConnection, Runtime, Worker } from '@temporalio/worker'
import { createArrivals, type Load, type LoadResult, runLoad } from './load.ts'

export interface EngineOrder {
  load: Load
  prefix: string
}

export type EngineReport =
  | { ready: true }
  | { result: LoadResult; repeated: string[] }
  /** The load could not be run to its end. */
  | { failed: string }

const TASK_QUEUE = 'bench-engine'

const report = (message: EngineReport) => void process.send?.(message)

const address = process.argv[2]!
Runtime.install({ logger: new DefaultLogger('ERROR'), shutdownSignals: [] })
const connection = await NativeConnection.connect({ address })
const client = new Client({ connection })
const arrivals = createArrivals()
const worker = await Worker.create({
  connection,
  taskQueue: TASK_QUEUE,
  workflowBundle: await bundleWorkflowCode({
    workflowsPath: fileURLToPath(new URL('engine-workflow.ts', import.meta.url)),
    logger: new DefaultLogger('ERROR'),
  }),
  activities: { arrive: async (key: string) => arrivals.arrive(key) },
  // As temporal-config/worker/worker.ts has them.
  maxConcurrentActivityTaskExecutions: 100,
  maxCachedWorkflows: 1000,
})
const ended = worker.run()

async function start(key: string): Promise<void> {
  await client.workflow.start('bare', {
    taskQueue: TASK_QUEUE,
    workflowId: `bench-engine/${key}`,
    args: [key],
    requestEagerStart: true,
  })
}

process.on('message', ({ load, prefix }: EngineOrder) => {
  runLoad(load, prefix, start, arrivals).then(
    (result) => report({ result, repeated: result.keys.filter((key) => arrivals.count(key) !== 1) }),
    (error: unknown) => report({ failed: (error as Error).message }),
  )
})
process.on('SIGTERM', async () => {
  worker.shutdown()
  await ended
  await connection.close()
  process.exit(0)
})
report({ ready: true })
