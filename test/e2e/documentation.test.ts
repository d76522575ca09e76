// The commands of the documentation, run as a reader would: one service, one shell for each page, and the output that a
// page shows compared with what is printed.
import { chmodSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { Client, Connection } from '@temporalio/client'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { freePort } from '../../temporal-config/stack/ports.ts'
import { temporaryFolder } from '../support/folders.ts'
import { normalise, openShell, openTerminal, patternOf, type Terminal } from '../support/page-shell.ts'
import { type Block, blocksOf, PAGES, readPage } from '../support/pages.ts'
import { startTestServer, type TestServer } from '../support/postgres.ts'

/** The ports that the pages name. Nobody listens on the last one. */
const SHOWN_PORTS = ['8000', '7233', '8233', '5433', '9000', '9001', '9009']
/** It starts the service. */
const START = 'README.md'
/** The other pages use the destination that it registers. */
const TUTORIAL = 'docs/tutorial.md'
/** It takes the longest, and needs nothing of the tutorial. */
const ALONE = 'docs/failing-destinations.md'
/** Blocks that cannot run here. Each of them says why, in a comment above it. */
const NOT_RUN = 15

const folder = temporaryFolder('pages')
const data = join(folder, 'data')
const terminals = new Map<string, Terminal>()
let env: Record<string, string>
/** The server that stands for `db.example`. */
let own: TestServer | undefined
let ports: string[]

beforeAll(async () => {
  // The embedded PostgreSQL of root runs as another user, who must reach its files.
  chmodSync(folder, 0o755)
  ports = []
  for (const _ of SHOWN_PORTS) ports.push(String(await freePort(0)))
  const names = ['API_PORT', 'TEMPORAL_PORT', 'TEMPORAL_UI_PORT', 'DATABASE_PORT', 'RECEIVER_PORT', 'CALLBACK_PORT']
  env = { DATA_DIR: data, BACKUPS: folder, ...Object.fromEntries(names.map((name, at) => [name, ports[at]!])) }
})
afterAll(async () => {
  await Promise.all([...terminals.values()].map((terminal) => terminal.close()))
  await own?.stop()
  rmSync(folder, { recursive: true, force: true })
})

/** A script of a page, with the ports and the folder of this run. */
function here(script: string): string {
  return script
    .replace(/\b\d{4}\b/g, (port) => ports[SHOWN_PORTS.indexOf(port)] ?? port)
    .replaceAll('.data/', `${data}/`)
    .replace('db.example:5432', () => new URL(own!.url).host)
}

/** What was printed, with the ports and the folder that the page shows. */
function asShown(printed: string): string {
  const text = printed.replace(/\b\d{4,5}\b/g, (port) => SHOWN_PORTS[ports.indexOf(port)] ?? port)
  return normalise(text.replaceAll(data, '.data'))
}

async function walk(page: string): Promise<void> {
  const shell = openShell(env)
  let database: pg.Client | undefined
  let printed: string | null = null
  try {
    for (const block of blocksOf(page).filter(({ notRun }) => notRun === null)) {
      const at = `${page}:${block.line}`
      const { language, terminal, text } = block
      if (language === 'sh' && terminal) await open(terminal, here(text))
      else if (language === 'sh') printed = await shell.run(here(text))
      else if (language === 'text' && terminal) await shows(terminal, text, at)
      else if (language === 'sql' && terminal) await administer(text)
      else if (language === 'sql') {
        database ??= await connect()
        await database.query(text)
      } else if (isOutput(block) && printed !== null) {
        const pattern = new RegExp(`^${patternOf(text)}$`)
        const found = asShown(printed)
        // The comparison that fails shows both texts.
        if (!pattern.test(found)) expect(found, at).toBe(normalise(text))
      }
    }
  } finally {
    shell.close()
    await database?.end()
  }
}

/** Starts a program in a terminal, unless an earlier page has started it there. */
async function open(name: string, script: string): Promise<void> {
  if (terminals.get(name)?.script === script) return
  await terminals.get(name)?.close()
  const terminal = openTerminal(script, env)
  terminals.set(name, terminal)
  if (script.includes('npm start')) await prints(terminal, /"msg":"ready"/)
}

/** The terminal prints each of these lines, sooner or later. */
async function shows(name: string, lines: string, at: string): Promise<void> {
  const terminal = terminals.get(name)!
  for (const line of lines.split('\n')) await prints(terminal, new RegExp(`^${patternOf(line)}$`, 'm'), at)
}

function prints(terminal: Terminal, pattern: RegExp, at?: string): Promise<void> {
  return vi.waitFor(() => expect(asShown(terminal.text()), at).toMatch(pattern), { timeout: 90_000, interval: 100 })
}

/** Runs the statements as the superuser of a server of their own, which has none of our roles yet. */
async function administer(statements: string): Promise<void> {
  own ??= await startTestServer()
  const client = new pg.Client({ connectionString: own.url })
  await client.connect()
  for (const statement of statements.split(';\n')) await client.query(statement)
  await client.end()
}

async function connect(): Promise<pg.Client> {
  const password = readFileSync(join(data, 'postgres/login-password'), 'utf8').trim()
  const port = Number(env.DATABASE_PORT)
  const client = new pg.Client({
    host: '127.0.0.1',
    port,
    user: 'distributor_login',
    password,
    database: 'distributor',
  })
  await client.connect()
  return client
}

function isOutput({ language, follows }: Block): boolean {
  return follows && (language === 'json' || language === 'text')
}

describe('the pages', { timeout: 180_000 }, () => {
  it('mark every block that cannot run, and hold no other kind of block', () => {
    const blocks = PAGES.flatMap((page) => blocksOf(page))
    expect(blocks.filter(({ notRun }) => notRun !== null)).toHaveLength(NOT_RUN)
    const known = (block: Block) =>
      block.notRun !== null ||
      ['sh', 'sql', 'mermaid'].includes(block.language) ||
      block.terminal !== null ||
      isOutput(block)
    expect(blocks.filter((block) => !known(block)).map(({ page, line }) => `${page}:${line}`)).toEqual([])
  })

  const others = PAGES.filter((page) => ![START, TUTORIAL, ALONE].includes(page) && blocksOf(page).some(runs))
  let started = false
  let learned: Promise<void>

  it(`${START} shows what its commands do`, async () => {
    await walk(START)
    started = true
  })
  it.concurrent.each([TUTORIAL, ALONE, ...others])('%s shows what its commands do', async (page) => {
    expect(started, 'the service is up').toBe(true)
    if (page === TUTORIAL) {
      learned = walk(page)
      return await learned
    }
    // Where it fails, its own test says so.
    if (page !== ALONE) await learned.catch(() => {})
    await walk(page)
  })
})

it('the filters of docs/temporal-ui.md are understood by Temporal', async () => {
  const filters = [...readPage('docs/temporal-ui.md').matchAll(/^\|.*\| `(.* = .*)` \|$/gm)].map(
    ([, filter]) => filter!,
  )
  expect(filters.length).toBeGreaterThan(3)
  const connection = await Connection.connect({ address: `127.0.0.1:${env.TEMPORAL_PORT}` })
  const { workflow } = new Client({ connection })
  for (const filter of filters) await workflow.count(filter)
  expect((await workflow.count("DistributionStatus = 'failed'")).count).toBeGreaterThan(0)
  await connection.close()
})

function runs({ language, notRun }: Block): boolean {
  return notRun === null && (language === 'sh' || language === 'sql')
}
