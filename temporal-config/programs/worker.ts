// `npm run worker`: the workers alone. Stateless; run as many as needed.
import { runProgram } from '../process/program.ts'

await runProgram('worker', async (started) => (await import('./worker-alone.ts')).startWorker(started))
