// Side a, the bare engine: what the Temporal server and its SDK can do on this machine when nothing else is asked.
import { once } from 'node:events'
import { join } from 'node:path'
import type { EngineOrder, EngineReport } from './engine-program.ts'
import type { Servers } from './servers.ts'
import { endProgram, lastLines, type Side, startProgram } from './side.ts'

export async function startEngine(servers: Servers, env: NodeJS.ProcessEnv): Promise<Side> {
  const log = join(servers.folder, 'engine.log')
  const child = startProgram('engine-program.ts', { args: [servers.temporal_address], env, log })
  const next = async (): Promise<EngineReport> => {
    const answered = new AbortController()
    try {
      const ended = once(child, 'exit', { signal: answered.signal }).then(() => {
        throw new Error(`the engine's process ended:\n${lastLines(log)}`)
      })
      ended.catch(() => {})
      const [report] = (await Promise.race([once(child, 'message', { signal: answered.signal }), ended])) as [
        EngineReport,
      ]
      return report
    } finally {
      answered.abort()
    }
  }
  await next()
  let repeated: string[] = []
  return {
    pid: child.pid!,
    workflow: 'bare',
    async run(load, prefix) {
      child.send({ load, prefix } satisfies EngineOrder)
      const report = await next()
      if ('failed' in report) throw new Error(`engine: ${report.failed}`)
      if (!('result' in report)) throw new Error('engine: an answer out of turn')
      repeated = report.repeated
      return report.result
    },
    async check() {
      if (repeated.length > 0) throw new Error(`engine: ${repeated.length} activities did not run exactly once`)
      return {}
    },
    close: () => endProgram(child),
  }
}
