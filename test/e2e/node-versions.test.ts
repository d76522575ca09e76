// The product on the newer releases of Node: the demo, which starts everything and delivers by all six protocols.
import { chmodSync, rmSync } from 'node:fs'
import { afterAll, describe, expect, it } from 'vitest'
import { temporaryFolder } from '../support/folders.ts'
import { hasNodePackage, OTHER_NODES, obtainNode } from '../support/node-versions.ts'
import { normalise, patternOf } from '../support/page-shell.ts'
import { blocksOf } from '../support/pages.ts'
import { runCommand } from '../support/programs.ts'
import { INSTALL_MS } from '../support/receivers/needs.ts'

/** What the demo prints, without its progress, whose lines come in any order, and without ports. */
const settled = (output: string) =>
  output.replace(/^ +\d+\.\d\d s .*\n/gm, '').replace(/127\.0\.0\.1:\d+/g, '127.0.0.1:0')

describe.skipIf(!hasNodePackage)('the demo', () => {
  const folders: string[] = []
  afterAll(() => {
    for (const folder of folders) rmSync(folder, { recursive: true, force: true })
  })

  it.each(OTHER_NODES)(
    'delivers by all six protocols on Node %s, and prints what README.md shows',
    { timeout: INSTALL_MS },
    async (version) => {
      const node = await obtainNode(version)
      const folder = temporaryFolder('node')
      folders.push(folder)
      // The embedded PostgreSQL of root runs as another user, who must reach its files.
      chmodSync(folder, 0o755)
      const demo = runCommand(node, ['temporal-config/bootstrap.mjs', 'demo', '--exit'], { DATA_DIR: folder })
      const code = await demo.exited
      const output = demo.lines.join('\n')
      expect(output).toContain('6 of 6 delivered')
      const [shown] = blocksOf('README.md').filter(({ text }) => text.startsWith('$ npm run demo\n'))
      const pattern = new RegExp(patternOf(settled(shown!.text.replace(/^.*\n/, ''))))
      expect(normalise(settled(output))).toMatch(pattern)
      expect(code, output).toBe(0)
    },
  )
})
