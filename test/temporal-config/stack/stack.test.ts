import { chmodSync, existsSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { Client, Connection } from '@temporalio/client'
import pg from 'pg'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { endProcess, isRunning, listeningPorts, type ProcessId } from '../../../temporal-config/stack/processes.ts'
import { removeReachableFolder } from '../../../temporal-config/stack/reach.ts'
import { temporaryFolder } from '../../support/folders.ts'
import { type Program, runProgram } from '../../support/programs.ts'

interface Ready {
  postgres: { url: string }
  temporal: { address: string }
  supervisor: ProcessId
}

let dir: string
const holders: Program[] = []

beforeEach(() => {
  dir = temporaryFolder('stack')
  chmodSync(dir, 0o711)
})
afterEach(async () => {
  for (const holder of holders.splice(0)) holder.child.kill('SIGKILL')
  const left = lock()
  if (left) for (const id of [left.supervisor, ...Object.values(left.servers)]) await endProcess(id, [], 10_000)
  removeReachableFolder(join(dir, 'postgres'), 'postgres')
  rmSync(dir, { recursive: true, force: true })
})

function hold(): Program {
  const program = runProgram('test/temporal-config/stack/holder.ts', [dir])
  holders.push(program)
  return program
}

async function ready(program: Program): Promise<Ready> {
  return JSON.parse(await program.line((line) => line.startsWith('{"ready"'))).ready
}

interface Lock {
  supervisor: ProcessId
  servers: Record<'postgres' | 'temporal', ProcessId>
  addresses: { postgres: { port: number }; temporal: { ports: number[] } }
}

function lock(): Lock | undefined {
  const file = join(dir, 'lock.json')
  return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : undefined
}

async function query(url: string, sql: string): Promise<unknown[]> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    return (await client.query(sql)).rows
  } finally {
    await client.end()
  }
}

async function withTemporal<T>(address: string, work: (client: Client) => Promise<T>): Promise<T> {
  const connection = await Connection.connect({ address })
  try {
    return await work(new Client({ connection }))
  } finally {
    await connection.close()
  }
}

/** Leaves a row in PostgreSQL and a run in Temporal. */
async function leaveTraces(stack: Ready): Promise<void> {
  await query(stack.postgres.url, 'create table trace as select 1 as n')
  await withTemporal(stack.temporal.address, (client) =>
    client.workflow.start('anything', {
      workflowId: 'trace',
      taskQueue: 'nobody',
      searchAttributes: { TenantId: ['demo'] },
    }),
  )
}

async function expectTraces(stack: Ready): Promise<void> {
  expect(await query(stack.postgres.url, 'select n from trace')).toEqual([{ n: 1 }])
  const run = await withTemporal(stack.temporal.address, (client) => client.workflow.getHandle('trace').describe())
  expect(run.status.name).toBe('RUNNING')
  expect(run.searchAttributes.TenantId).toEqual(['demo'])
}

describe('the embedded stack', () => {
  it('ends both servers with its holder, and a second start finds what the first kept', async () => {
    const first = hold()
    await leaveTraces(await ready(first))
    const { servers } = lock()!
    first.child.kill('SIGTERM')
    expect(await first.exited).toBe(0)
    expect(Object.values(servers).filter(isRunning)).toEqual([])
    expect(lock()).toBeUndefined()
    await expectTraces(await ready(hold()))
  })

  it('refuses a second holder, names the first one, and does not affect it', async () => {
    const first = hold()
    const stack = await ready(first)
    const second = hold()
    expect(await second.exited).toBe(1)
    expect(second.lines.join('\n')).toContain(`in use by the holder (pid ${first.pid}`)
    await leaveTraces(stack)
    await expectTraces(stack)
  })

  it('ends its servers by itself when the holder is killed', async () => {
    const first = hold()
    await ready(first)
    const { servers, supervisor } = lock()!
    first.child.kill('SIGKILL')
    await expect.poll(() => [supervisor, ...Object.values(servers)].filter(isRunning), { timeout: 20_000 }).toEqual([])
    expect(lock()).toBeUndefined()
  })

  it('leaves nothing behind when its start is aborted', async () => {
    const first = hold()
    await expect.poll(() => lock()?.servers.postgres, { timeout: 20_000, interval: 5 }).toBeDefined()
    const { servers, supervisor } = lock()!
    first.child.kill('SIGKILL')
    await expect.poll(() => [supervisor, ...Object.values(servers)].filter(isRunning), { timeout: 30_000 }).toEqual([])
    expect(lock()).toBeUndefined()
    await leaveTraces(await ready(hold()))
  })

  it('starts anew after a kill -9 of everything, with all its data', async () => {
    const first = hold()
    await leaveTraces(await ready(first))
    const { servers, supervisor } = lock()!
    for (const pid of [first.pid, supervisor.pid, servers.temporal.pid, servers.postgres.pid]) {
      process.kill(pid, 'SIGKILL')
    }
    await expectTraces(await ready(hold()))
  })

  it('ends the servers that a killed supervisor left running, before it starts anew', async () => {
    const first = hold()
    await leaveTraces(await ready(first))
    const { servers, supervisor } = lock()!
    process.kill(first.pid, 'SIGKILL')
    process.kill(supervisor.pid, 'SIGKILL')
    expect(Object.values(servers).filter(isRunning)).toHaveLength(2)
    const second = hold()
    await expectTraces(await ready(second))
    expect(Object.values(servers).filter(isRunning)).toEqual([])
    expect(second.lines.join('\n')).toContain(
      `ending postgres (pid ${servers.postgres.pid}), left behind by the holder`,
    )
  })

  it('restarts a server that was killed, on the same port', async () => {
    const holder = hold()
    const stack = await ready(holder)
    await leaveTraces(stack)
    const { servers } = lock()!
    process.kill(servers.postgres.pid, 'SIGKILL')
    process.kill(servers.temporal.pid, 'SIGKILL')
    await holder.line((line) => line.includes('postgres is up again'))
    await holder.line((line) => line.includes('temporal is up again'))
    await expectTraces(stack)
  })

  it('says every port that its servers listen on, also after one was started again', async () => {
    const holder = hold()
    await ready(holder)
    const known = () => [...lock()!.addresses.temporal.ports, lock()!.addresses.postgres.port]
    const taken = () => Object.values(lock()!.servers).flatMap(listeningPorts)
    // The front end, its HTTP API, metrics and internal services, and PostgreSQL.
    expect(taken().length).toBeGreaterThanOrEqual(5)
    expect(known()).toEqual(expect.arrayContaining(taken()))
    // Those that can be stated; the internal services take any.
    const stated = known().slice(0, 3)
    process.kill(lock()!.servers.temporal.pid, 'SIGKILL')
    await holder.line((line) => line.includes('temporal is up again'))
    expect(known()).toEqual(expect.arrayContaining(taken()))
    expect(known().slice(0, 3)).toEqual(stated)
  })
})
