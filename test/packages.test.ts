// What the packages do by themselves while they are installed.
import { execFile } from 'node:child_process'
import { createServer } from 'node:http'
import { createRequire } from 'node:module'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, it } from 'vitest'

const root = fileURLToPath(new URL('..', import.meta.url))

it('installing swagger-ui-dist sends no report to its makers', async () => {
  // package.json turns the report off. The script has a setting that sends it to a local port instead.
  let reports = 0
  const server = createServer((_, answer) => {
    reports += 1
    answer.end()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  try {
    const { port } = server.address() as AddressInfo
    const script = createRequire(import.meta.url).resolve('@scarf/scarf')
    const env = { ...process.env, INIT_CWD: root, SCARF_LOCAL_PORT: String(port), SCARF_VERBOSE: 'true' }
    const { stdout, stderr } = await promisify(execFile)(process.execPath, [script], { env })
    expect(stdout + stderr).toContain('disabled via a package.json')
    expect(reports).toBe(0)
  } finally {
    server.close()
  }
})
