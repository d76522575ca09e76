// `npm run api`: the API alone. Stateless; run as many as needed.
import { runProgram } from '../process/program.ts'

await runProgram('api', async (started) => (await import('./api-alone.ts')).startApi(started))
