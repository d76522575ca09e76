// The workflows' code in one piece. Bundling costs more than a second of processor time at every start, so the result is
// kept beside the other programs, under a name that is made from what it contains.
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { WorkflowBundleOption } from '@temporalio/worker'
import { bundleWorkflows } from './worker.ts'

const WORKFLOWS = fileURLToPath(new URL('../../workflows/', import.meta.url))

/** The bundle in `folder`, made if it is not there. In a folder that cannot be written it is made each time. */
export async function keptBundle(folder: string, bundle = bundleWorkflows): Promise<WorkflowBundleOption> {
  const codePath = join(folder, `workflows-${contentHash()}.js`)
  if (existsSync(codePath)) return { codePath }
  const { code } = await bundle()
  try {
    mkdirSync(folder, { recursive: true })
    // Whole or not at all: another process may look for it at the same time.
    const part = `${codePath}.${process.pid}.part`
    writeFileSync(part, code)
    renameSync(part, codePath)
  } catch {
    return { code }
  }
  return { codePath }
}

/** Of the workflows' files, which import nothing else of this project at run time, and of the SDK's version. */
function contentHash(): string {
  const hash = createHash('sha256')
  const { version } = createRequire(import.meta.url)('@temporalio/worker/package.json') as { version: string }
  hash.update(version)
  for (const file of readdirSync(WORKFLOWS).sort())
    hash.update(`\0${file}\0`).update(readFileSync(join(WORKFLOWS, file)))
  return hash.digest('hex').slice(0, 32)
}
