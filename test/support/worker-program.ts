// `npm run worker` for tests: with the bundle of the run, and a lost worker counts as lost after 10 s in place of 30. A
// worker on a busy machine can be silent for some seconds.
import { TIMING } from '../../activities/timing.ts'
import { runProgram } from '../../temporal-config/process/program.ts'
import { startWorker } from '../../temporal-config/programs/worker-alone.ts'
import { workflowBundle } from './workflow-bundle.ts'

const timing = { ...TIMING, heartbeat_ms: 500, lost_after_ms: 10_000, lease_margin_ms: 12_000 }

await runProgram('worker', (started) => startWorker(started, { workflows: workflowBundle, timing }))
