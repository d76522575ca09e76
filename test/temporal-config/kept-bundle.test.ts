import { chmodSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it, vi } from 'vitest'
import { keptBundle } from '../../temporal-config/worker/kept-bundle.ts'
import { temporaryFolder } from '../support/folders.ts'

describe('the kept bundle of the workflows', () => {
  it('is made once, and read by the next start', async () => {
    const folder = join(temporaryFolder('bundle'), 'new')
    const bundle = vi.fn(async () => ({ code: 'the code' }))
    const first = await keptBundle(folder, bundle)
    expect(await keptBundle(folder, bundle)).toEqual(first)
    expect(bundle).toHaveBeenCalledTimes(1)
    expect(readdirSync(folder)).toHaveLength(1)
    expect(readFileSync((first as { codePath: string }).codePath, 'utf8')).toBe('the code')
  })

  it('is made each time where nothing can be written', async () => {
    const file = join(temporaryFolder('bundle'), 'a-file')
    writeFileSync(file, '')
    chmodSync(file, 0o400)
    expect(await keptBundle(join(file, 'below'), async () => ({ code: 'the code' }))).toEqual({ code: 'the code' })
  })
})
