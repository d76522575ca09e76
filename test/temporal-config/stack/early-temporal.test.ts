import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { alone } from '../../../temporal-config/alone.mjs'
import { buildEarly, temporalLock } from '../../../temporal-config/stack/early-temporal.mjs'
import { findTemporal, type Machine } from '../../../temporal-config/stack/temporal-program.ts'

const NOBODY = 'http://127.0.0.1:1'

let dir: string
let cache: string
let env: NodeJS.ProcessEnv

/** A Go whose `install` writes a program, and notes the environment that it was given. */
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'distributor-early-'))
  cache = join(dir, 'cache')
  const bin = join(dir, 'bin')
  mkdirSync(bin)
  const go = join(bin, 'go')
  writeFileSync(
    go,
    `#!/bin/sh\nif [ "$1" = env ]; then echo go1.26.0; exit; fi\nenv > ${dir}/seen\nsleep 0.2\necho built > "$GOBIN/temporal"\n`,
  )
  chmodSync(go, 0o755)
  env = { PATH: `${bin}:/usr/bin:/bin`, HOME: dir, XDG_CACHE_HOME: cache, DATABASE_URL: 'postgres://u:secret@h/d' }
})
afterEach(() => rmSync(dir, { recursive: true, force: true }))

// `findGo` asks for `go` on the PATH of this process.
const withPath = async (work: () => Promise<void>) => {
  const before = process.env.PATH
  process.env.PATH = env.PATH
  try {
    await work()
  } finally {
    process.env.PATH = before
  }
}
const built = () => existsSync(join(cache, 'distributor', 'temporal'))

it('is built with Go when the download does not answer, and the build sees none of our settings', async () => {
  await withPath(() => buildEarly(env, () => {}, NOBODY))
  expect(built()).toBe(true)
  expect(readFileSync(join(dir, 'seen'), 'utf8')).not.toContain('secret')
})

it('removes the folders of builders that are gone, and leaves those of others', async () => {
  const folder = join(cache, 'distributor')
  const gone = join(folder, 'build-2147483647-abcdef')
  const working = join(folder, `build-${process.pid}-abcdef`)
  for (const each of [gone, working]) mkdirSync(each, { recursive: true })
  await withPath(() => buildEarly(env, () => {}, NOBODY))
  expect([existsSync(gone), existsSync(working)]).toEqual([false, true])
})

it.each([
  ['the settings name a program', { TEMPORAL_CLI: '/opt/temporal' }],
  ['the settings name a server', { TEMPORAL_ADDRESS: 'temporal:7233' }],
  ['a proxy leads to the outside', { HTTPS_PROXY: 'http://proxy:3128' }],
])('is not built when %s', async (_, settings) => {
  await withPath(() => buildEarly({ ...env, ...settings }, () => {}, NOBODY))
  expect(built()).toBe(false)
})

it('is not built when the download answers', async () => {
  const server = createServer((_, response) => response.end('{}'))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  await withPath(() => buildEarly(env, () => {}, `http://127.0.0.1:${(server.address() as AddressInfo).port}`))
  server.close()
  expect(built()).toBe(false)
})

it('is waited for by a search, which then gets nothing itself', async () => {
  const folder = join(cache, 'distributor')
  mkdirSync(folder, { recursive: true })
  const kept = join(folder, 'temporal')
  const fetched: string[] = []
  const machine: Machine = {
    works: async (program) => program === kept && existsSync(kept),
    download: async () => {
      fetched.push('download')
      return kept
    },
    go: async () => undefined,
    build: async () => kept,
  }
  let found: Promise<string> | undefined
  await alone(temporalLock(folder), 'building', async () => {
    found = findTemporal({ path: '', folder, say: () => {} }, machine)
    await new Promise((resolve) => setTimeout(resolve, 50))
    writeFileSync(kept, '')
  })
  expect(await found).toBe(kept)
  expect(fetched).toEqual([])
})
