import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/support/global-setup.ts'],
    // Workers and connections have native parts: each file gets a process of its own. Two fit two cores.
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 30_000,
    hookTimeout: 120_000,
    teardownTimeout: 30_000,
    allowOnly: !process.env.CI,
    expect: { poll: { timeout: 10_000, interval: 25 } },
  },
})
