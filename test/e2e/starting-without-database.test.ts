// A process that starts while its database is unreachable waits for it and then continues. An error that requires a change
// of the settings ends it at once.
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { freePort } from '../../temporal-config/stack/ports.ts'
import { type Deployment, startDeployment } from '../support/deployment.ts'
import { type Front, startFront, type Trouble } from '../support/front.ts'
import { type Program, runProgram } from '../support/programs.ts'

const PROGRAMS = {
  'npm run api': 'temporal-config/programs/api.ts',
  'npm run worker': 'temporal-config/programs/worker.ts',
  'npm start': 'temporal-config/programs/start.ts',
} as const
const NAMES = Object.keys(PROGRAMS) as (keyof typeof PROGRAMS)[]

let deployment: Deployment
let front: Front
let frontUrl: string
const started: Program[] = []

beforeAll(async () => {
  deployment = await startDeployment()
  const url = new URL(deployment.env.DATABASE_URL!)
  const port = await freePort(0)
  front = await startFront(port, { host: url.hostname, port: Number(url.port) })
  url.hostname = '127.0.0.1'
  url.port = String(port)
  frontUrl = url.href
})
afterEach(async () => {
  for (const { child, exited } of started.splice(0)) {
    child.kill('SIGKILL')
    await exited
  }
  await front.set('refuses')
})
afterAll(async () => {
  await front?.close()
  await deployment?.close()
})

interface Begun extends Program {
  url: string
  health(path: 'live' | 'ready'): Promise<{ status: number; failing: string[] }>
}

/** Started, not awaited. */
async function begin(name: keyof typeof PROGRAMS, env: Record<string, string> = {}): Promise<Begun> {
  const port = await freePort(0)
  const program = runProgram(PROGRAMS[name], [], {
    ...deployment.env,
    DATABASE_URL: frontUrl,
    API_PORT: String(port),
    WORKER_PORT: String(port),
    ...env,
  })
  started.push(program)
  return {
    ...program,
    url: `http://127.0.0.1:${port}`,
    async health(path) {
      const response = await fetch(`http://127.0.0.1:${port}/health/${path}`)
      const body = (await response.json()) as { failing?: string[] }
      return { status: response.status, failing: body.failing ?? [] }
    },
  }
}

const waiting = (program: Begun) =>
  expect.poll(() => program.health('live').catch(() => null), { timeout: 30_000 }).toMatchObject({ status: 200 })

const says = (program: Program, words: string) => program.lines.filter((line) => line.includes(words))

const AWAY: Trouble[] = [
  'refuses',
  'hangs up',
  'is silent',
  { sqlstate: '57P03' },
  { sqlstate: '53300' },
  { sqlstate: '08006' },
]

describe('while its database is away', () => {
  it.each(NAMES)(
    '%s waits, live and not ready, says so once, and goes on by itself',
    async (name) => {
      const program = await begin(name)
      await waiting(program)
      for (const trouble of AWAY) {
        await front.set(trouble)
        await sleep(500)
        expect((await program.health('live')).status).toBe(200)
        const { status, failing } = await program.health('ready')
        expect([trouble, status, failing.includes('database')]).toEqual([trouble, 503, true])
      }
      expect(program.lines.filter((line) => line.includes('"msg":"ready"'))).toEqual([])
      if (name !== 'npm run worker') {
        const refused = await fetch(`${program.url}/api/v1/distribution/list`, { headers: { 'x-api-key': 'any' } })
        expect([refused.status, refused.headers.get('retry-after')]).toEqual([503, '5'])
        expect(await refused.json()).toMatchObject({ error: 'SERVICE_UNAVAILABLE' })
        expect((await fetch(`${program.url}/openapi.json`)).status).toBe(200)
      }
      await front.set('passes')
      await program.line((line) => line.includes('"msg":"ready"'))
      await expect
        .poll(async () => (await program.health('ready')).failing, { timeout: 20_000 })
        .not.toContain('database')
      expect(says(program, 'the database does not answer; waiting for it')).toHaveLength(1)
      expect(says(program, '"the database answers"')).toHaveLength(1)
      program.child.kill('SIGTERM')
      expect(await program.exited).toBe(0)
    },
    90_000,
  )

  it.each(['npm run worker', 'npm start'] as const)(
    '%s ends cleanly on SIGTERM',
    async (name) => {
      await front.set('is silent')
      const program = await begin(name)
      await waiting(program)
      program.child.kill('SIGTERM')
      expect(await program.exited).toBe(0)
      expect(says(program, 'failed')).toEqual([])
    },
    60_000,
  )

  it('waits for a host whose name is not known yet', async () => {
    const program = await begin('npm run api', { DATABASE_URL: frontUrl.replace('127.0.0.1', 'database.invalid') })
    await waiting(program)
    expect((await program.health('ready')).failing).toContain('database')
    expect(says(program, 'waiting for it')[0]).toMatch(/ENOTFOUND|EAI_AGAIN/)
  }, 60_000)

  it('waits while it is a standby that only reads', async () => {
    const client = new pg.Client({ connectionString: deployment.databaseUrl })
    await client.connect()
    try {
      await client.query('alter database distributor set default_transaction_read_only = on')
      await front.set('passes')
      const program = await begin('npm run api', { BOOTSTRAP_TENANT: 'later' })
      await waiting(program)
      await program.line((line) => line.includes('waiting for it') && line.includes('25006'))
      expect((await program.health('ready')).failing).toContain('database')
      await client.query('set default_transaction_read_only = off')
      await client.query('alter database distributor reset default_transaction_read_only')
      await program.line((line) => line.includes('"msg":"ready"'))
    } finally {
      await client.end()
    }
  }, 60_000)
})

describe('a setting that is wrong ends the start at once, with its reason:', () => {
  it.each<[what: string, value: () => string, line: RegExp]>([
    ['the password', () => frontUrl.replace(/:[^:@]*@/, ':wrong@'), /^DATABASE_URL: password authentication failed/],
    ['a superuser', () => deployment.databaseUrl, /^DATABASE_URL: .* superuser/],
  ])(
    '%s',
    async (_what, value, expected) => {
      await front.set('passes')
      const program = await begin('npm run api', { DATABASE_URL: value() })
      expect(await program.exited).toBe(1)
      const plain = program.lines.filter((line) => !line.startsWith('{'))
      expect(plain[0]).toMatch(expected)
      expect(plain.filter((line) => !line.startsWith('DATABASE_URL: '))).toEqual([])
    },
    60_000,
  )
})

describe('npm run migrate', () => {
  it('waits for a database that is away, and says so once', async () => {
    await front.set('hangs up')
    const program = runProgram('temporal-config/programs/migrate.ts', [], { DATABASE_ADMIN_URL: frontUrl })
    started.push(program)
    await program.line((line) => line.includes('waiting for it'))
    await sleep(1000)
    await front.set({ sqlstate: '3D000' })
    expect(await program.exited).toBe(1)
    expect(program.lines).toEqual([expect.stringContaining('waiting'), 'refused for the sake of a test'])
  }, 60_000)
})
