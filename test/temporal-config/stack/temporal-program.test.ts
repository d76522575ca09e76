import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { findTemporal, type Machine, type Search } from '../../../temporal-config/stack/temporal-program.ts'

const folder = mkdtempSync(join(tmpdir(), 'distributor-programs-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** A machine on which nothing is there and nothing works, but for what a test says. */
function machine(has: { programs?: string[]; download?: string; go?: [number, number]; built?: string } = {}): Machine {
  return {
    works: async (program) => has.programs?.includes(program) ?? false,
    async download() {
      if (has.download) return has.download
      throw new Error('no byte for 10 s')
    },
    go: async () => (has.go ? { program: 'go', major: has.go[0], minor: has.go[1] } : undefined),
    async build() {
      if (has.built) return has.built
      throw new Error('no module')
    },
  }
}

const said: string[] = []
const search = (rest: Partial<Search> = {}): Search => ({
  path: ['/usr/bin', '/opt/bin'].join(delimiter),
  folder,
  say: (line) => said.push(line),
  ...rest,
})

describe('the temporal program', () => {
  it('is the program that TEMPORAL_CLI names, before any on PATH', async () => {
    const has = machine({ programs: ['/home/me/temporal', '/usr/bin/temporal'] })
    expect(await findTemporal(search({ given: '/home/me/temporal' }), has)).toBe('/home/me/temporal')
  })

  it('may be named without a folder', async () => {
    const has = machine({ programs: ['/opt/bin/temporal-1.5'] })
    expect(await findTemporal(search({ given: 'temporal-1.5' }), has)).toBe('/opt/bin/temporal-1.5')
  })

  it('is refused under the name of the setting when the named one does not work', async () => {
    const has = machine({ programs: ['/usr/bin/temporal'] })
    await expect(findTemporal(search({ given: '/home/me/temporal' }), has)).rejects.toThrow(/^TEMPORAL_CLI: /)
  })

  it('is the first on PATH that works', async () => {
    const has = machine({ programs: ['/opt/bin/temporal'] })
    expect(await findTemporal(search(), has)).toBe('/opt/bin/temporal')
  })

  it('is the program that was fetched earlier when PATH has none', async () => {
    const has = machine({ programs: [join(folder, 'temporal')] })
    expect(await findTemporal(search(), has)).toBe(join(folder, 'temporal'))
  })

  it('is downloaded when there is none, and the wait is reported', async () => {
    said.length = 0
    expect(await findTemporal(search(), machine({ download: '/cache/temporal' }))).toBe('/cache/temporal')
    expect(said).toEqual([expect.stringMatching(/download …$/), expect.stringMatching(/done in \d+\.\d s$/)])
  })

  it('is built with Go when the download gives up', async () => {
    said.length = 0
    expect(await findTemporal(search(), machine({ go: [1, 25], built: '/cache/built' }))).toBe('/cache/built')
    expect(said).toContainEqual(expect.stringMatching(/given up after \d+\.\d s$/))
    expect(said).toContainEqual(expect.stringMatching(/^building Temporal v\d.*done in/))
  })

  it.each([
    ['without Go', machine(), 'there is no Go'],
    ['with a Go that is too old', machine({ go: [1, 24] }), 'Go 1.24 is older than 1.25'],
    ['when the build fails', machine({ go: [1, 26] }), 'the build failed: no module'],
  ])('%s is not available, and the error lists all that was tried', async (_case, has, reason) => {
    const failure = findTemporal(search(), has)
    await expect(failure).rejects.toThrow('no byte for 10 s')
    await expect(failure).rejects.toThrow(reason)
    await expect(failure).rejects.toThrow('Give TEMPORAL_CLI or TEMPORAL_ADDRESS')
  })
})
