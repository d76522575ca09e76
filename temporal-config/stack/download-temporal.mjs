// Run as a process of its own: lets the SDK download its development server into a folder and prints where it is.
import { readdirSync, renameSync } from 'node:fs'
import { join } from 'node:path'
import { TestWorkflowEnvironment } from '@temporalio/testing'

const folder = process.argv[2]
const environment = await TestWorkflowEnvironment.createLocal({
  server: { executable: { type: 'cached-download', downloadDir: folder, ttl: '3650 days' } },
})
await environment.teardown()
// Under its own name, it is found by the next start without asking the SDK.
const fetched = readdirSync(folder).find((name) => name.startsWith('temporal-'))
const program = join(folder, process.platform === 'win32' ? 'temporal.exe' : 'temporal')
renameSync(join(folder, fetched), program)
console.log(program)
process.exit(0)
