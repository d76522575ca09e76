// `npm run worker` for tests: the run's bundle of the workflows, and a lost worker that is found within seconds.
import { TIMING } from '../../activities/timing.ts'
import { runProgram } from '../../temporal-config/process/program.ts'
import { startWorker } from '../../temporal-config/programs/worker.ts'
import { workflowBundle } from './workflow-bundle.ts'

const timing = { ...TIMING, heartbeat_ms: 500, lost_after_ms: 5000, lease_margin_ms: 6000 }

await runProgram('worker', (started) => startWorker(started, { workflows: workflowBundle, timing }))
