import { defineConfig } from 'vitest/config'
import { SlowFirst } from './test/support/sequencer.ts'

/** Files that look at their own process, or change what other files would meet in it. */
const OWN_PROCESS = [
  'test/activities/clock.test.ts',
  'test/api/body-cost.test.ts',
  'test/activities/destinations/{amqp,quiet,rest-answer,reuse,reuse-sessions,s3-environment,s3-requests}.test.ts',
  'test/activities/shaping/{isolation,shaper}.test.ts',
  'test/e2e/line-protocol.test.ts',
  'test/e2e/shaping.test.ts',
  // The SDK replays in the main thread, and its promise hooks stay.
  'test/replay/replay.test.ts',
  'test/temporal-config/own-servers.test.ts',
  'test/temporal-config/stack/*.test.ts',
]

export default defineConfig({
  test: {
    globalSetup: ['test/support/global-setup.ts'],
    // Workers and connections have native parts, which threads cannot share.
    pool: 'forks',
    // More than there are cores, because many tests wait; with more than five on two cores, tests meet their time limits.
    maxWorkers: 5,
    sequence: { sequencer: SlowFirst },
    testTimeout: 60_000,
    hookTimeout: 120_000,
    teardownTimeout: 30_000,
    allowOnly: !process.env.CI,
    expect: { poll: { timeout: 10_000, interval: 100 } },
    projects: [
      { extends: true, test: { name: 'own process', include: OWN_PROCESS, isolate: true } },
      // The others share processes, one file after another, so that heavy packages are loaded a few times and not 180 times.
      { extends: true, test: { name: 'shared', include: ['test/**/*.test.ts'], exclude: OWN_PROCESS, isolate: false } },
    ],
  },
})
