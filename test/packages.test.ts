// What the packages do by themselves while they are installed.
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { createRequire } from 'node:module'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, it } from 'vitest'

const root = fileURLToPath(new URL('..', import.meta.url))

it('installing swagger-ui-dist sends no report to its makers', async () => {
  // package.json turns the report off. The script has a setting that sends it to a local port instead.
  let reports = 0
  const dir = mkdtempSync(join(tmpdir(), 'distributor-packages-'))
  const server = createServer((_, answer) => {
    reports += 1
    answer.end()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  try {
    const { port } = server.address() as AddressInfo
    // The script gives `npm ls` three seconds, which a busy machine does not keep: it gets the answer at once.
    const list = join(dir, 'list.json')
    await promisify(execFile)('sh', ['-c', `npm ls @scarf/scarf --json --long > ${list}`], { cwd: root })
    const bin = join(dir, 'npm')
    writeFileSync(bin, `#!/bin/sh\ncat ${list}\n`, { mode: 0o755 })
    const script = createRequire(import.meta.url).resolve('@scarf/scarf')
    const PATH = `${dir}:${process.env.PATH}`
    const env = { ...process.env, PATH, INIT_CWD: root, SCARF_LOCAL_PORT: String(port), SCARF_VERBOSE: 'true' }
    const { stdout, stderr } = await promisify(execFile)(process.execPath, [script], { env })
    expect(stdout + stderr).toContain('disabled via a package.json')
    expect(reports).toBe(0)
  } finally {
    server.close()
    rmSync(dir, { recursive: true, force: true })
  }
})
