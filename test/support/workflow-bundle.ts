// The workflows' code, bundled once for all files of a run: by the first one that needs it, while the others wait.
import { existsSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { WorkflowBundlePath } from '@temporalio/worker'
import { alone } from '../../temporal-config/alone.mjs'
import { bundleWorkflows } from '../../temporal-config/worker/worker.ts'

/** For workers of tests, in this process or in one that a test has started. */
export async function workflowBundle(): Promise<WorkflowBundlePath> {
  // Set by test/support/global-setup.ts.
  const folder = process.env.TEST_RUN_FOLDER
  if (!folder) throw new Error('TEST_RUN_FOLDER is not set: run the tests with vitest and its global setup')
  const codePath = join(folder, 'workflows.js')
  if (!existsSync(codePath)) {
    await alone(
      `${codePath}.lock`,
      'bundling the workflows',
      async () => {
        if (existsSync(codePath)) return
        const { code } = await bundleWorkflows()
        // Whole or not at all: the others look for the file without the lock.
        writeFileSync(`${codePath}.part`, code)
        renameSync(`${codePath}.part`, codePath)
      },
      () => {},
    )
  }
  return { codePath }
}
