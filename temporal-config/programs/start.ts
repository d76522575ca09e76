// `npm start`: API and worker in one process.
import { runProgram } from '../process/program.ts'

await runProgram('start', async (started) => {
  // Loaded only now, so that `--help` and refused settings are answered at once; likewise in the other programs.
  const { startService } = await import('./service.ts')
  const service = await startService('npm start', started)
  return {
    api: service.url,
    docs: `${service.url}/docs`,
    metrics: service.metrics,
    temporal: service.temporal,
    temporal_ui: service.temporal_ui,
    database: service.database,
    api_key_file: service.bootstrap_api_key_file,
  }
})
