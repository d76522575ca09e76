// One PostgreSQL and one Temporal server for the whole run, in a folder that goes with it. They run under the stack's
// supervisor, so that a run which is killed leaves nothing behind.
import { chmodSync, mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { startStack } from '../../temporal-config/stack/stack.ts'
import { parentOfRun, temporaryFolder } from './folders.ts'
import { serveSharedServers } from './shared-servers.ts'

/**
 * Sets TEST_POSTGRES_URL (the superuser's) and TEST_TEMPORAL_ADDRESS for the test processes; where one is set already,
 * its server is used and none is started. TEST_RUN_FOLDER is the run's own folder, TMPDIR lies in it, TEST_SHARED_SERVERS tells where the
 * servers are that only some files need.
 */
export default async function setup(): Promise<() => Promise<void>> {
  const { TEST_POSTGRES_URL: postgresUrl, TEST_TEMPORAL_ADDRESS: temporalAddress } = process.env
  const dir = temporaryFolder('test', parentOfRun())
  process.env.TEST_RUN_FOLDER = dir
  // Whatever a test or its servers leave in the folder for temporary files goes with the run.
  process.env.TMPDIR = join(dir, 'tmp')
  mkdirSync(process.env.TMPDIR)
  chmodSync(process.env.TMPDIR, 0o1777)
  const shared = await serveSharedServers()
  process.env.TEST_SHARED_SERVERS = shared.url
  const end = async () => {
    await shared.close()
    rmSync(dir, { recursive: true, force: true })
  }
  if (postgresUrl && temporalAddress) return end
  const stack = await startStack({
    data_dir: dir,
    temporary: true,
    what: 'the test run',
    ...(postgresUrl ? {} : { postgres: { port: 0, durable: false } }),
    ...(temporalAddress
      ? {}
      : { temporal: { cli: process.env.TEMPORAL_CLI, port: 0, namespace: 'default', keep: false } }),
    say: (line) => process.stderr.write(`${line}\n`),
  })
  if (stack.postgres) process.env.TEST_POSTGRES_URL = stack.postgres.url
  if (stack.temporal) process.env.TEST_TEMPORAL_ADDRESS = stack.temporal.address
  return async () => {
    await stack.stop()
    await end()
  }
}
