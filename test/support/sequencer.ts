// The order of the test files: the slowest start first, so that no slow file is left for the end.
import { relative } from 'node:path'
import { BaseSequencer, type TestSpecification } from 'vitest/node'

/** Those that wait longest, the longest first. The others follow by the size of their files. */
const SLOW = [
  'test/temporal-config/stack/programs.test.ts',
  'test/e2e/batch-processes.test.ts',
  'test/e2e/processes.test.ts',
  'test/e2e/batches.test.ts',
  'test/e2e/resuming.test.ts',
  'test/e2e/starting-without-database.test.ts',
  'test/e2e/six-protocols.test.ts',
  'test/activities/destinations/amqp.test.ts',
  'test/e2e/documentation.test.ts',
  'test/e2e/node-versions.test.ts',
  'test/e2e/shaping.test.ts',
  'test/activities/destinations/jdbc-contract.test.ts',
  'test/e2e/schedules.test.ts',
  'test/temporal-config/stack/stack.test.ts',
  'test/temporal-config/backup.test.ts',
  'test/api/frozen-database.test.ts',
  'test/e2e/rate-limits.test.ts',
  'test/activities/shaping/shaper.test.ts',
  'test/e2e/lease-kill.test.ts',
  'test/e2e/suspended-tenant.test.ts',
  'test/e2e/clocks.test.ts',
  'test/e2e/circuits.test.ts',
  'test/e2e/ordering.test.ts',
  'test/e2e/failover-kill.test.ts',
  'test/workflows/distribute.test.ts',
  'test/e2e/priorities.test.ts',
]

export class SlowFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files)
    return sorted.toSorted((a, b) => rank(a) - rank(b))
  }
}

/** Files that need a separate process are grouped: a shared process ends when the next file cannot use it. */
function rank({ moduleId, project }: TestSpecification): number {
  const at = SLOW.indexOf(relative(project.config.root, moduleId))
  return (project.config.isolate ? 0 : 1000) + (at < 0 ? SLOW.length : at)
}
