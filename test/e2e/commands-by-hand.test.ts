// Cancel and retry that a person sends to the run itself with Temporal's own program: they do what the API's requests do.
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { findTemporal, programFolder } from '../../temporal-config/stack/temporal-program.ts'
import type { DistributionRef, RunStatus } from '../../workflows/messages.ts'
import { distributionWorkflowId } from '../../workflows/names.ts'
import { type HttpReceiver, startHttpReceiver } from '../support/receivers/http.ts'
import { createTestSystem, restTo, type TestSystem } from '../support/system.ts'

const run = promisify(execFile)
let system: TestSystem
let receiver: HttpReceiver
/** Refuses everything; its circuit may open. */
let away: HttpReceiver
let program: string

beforeAll(async () => {
  system = await createTestSystem()
  await system.tenant('acme')
  receiver = await startHttpReceiver()
  away = await startHttpReceiver({ script: { status: 503, headers: { 'retry-after': '3600' } } })
  await system.startWorkers()
  program = await findTemporal({
    given: process.env.TEMPORAL_CLI,
    path: process.env.PATH ?? '',
    folder: programFolder(process.env),
    say: () => {},
  })
})
afterAll(async () => {
  await system.close()
  await receiver.close()
  await away.close()
})

/** What Temporal's program answers; an error has its output. */
async function temporal(...words: string[]): Promise<string> {
  const where = ['--address', process.env.TEST_TEMPORAL_ADDRESS!, '--output', 'json']
  try {
    return (await run(program, ['workflow', ...words, ...where])).stdout
  } catch (error) {
    const { stdout, stderr } = error as { stdout: string; stderr: string }
    return `${stdout}${stderr}`
  }
}

const signal = (ref: DistributionRef, name: string, input?: object) =>
  temporal('signal', '-w', distributionWorkflowId(ref), '--name', name, ...argument(input))
const update = (ref: DistributionRef, name: string, input?: object) =>
  temporal('update', 'execute', '-w', distributionWorkflowId(ref), '--name', name, ...argument(input))
const argument = (input?: object) => (input ? ['--input', JSON.stringify(input)] : [])

async function status(ref: DistributionRef): Promise<RunStatus> {
  const answer = await temporal('query', '-w', distributionWorkflowId(ref), '--type', 'status')
  return JSON.parse(answer).queryResult[0]
}

async function retryByStart(ref: DistributionRef, input: object): Promise<string> {
  return await temporal(
    ...['signal-with-start', '-w', distributionWorkflowId(ref), '--type', 'distribute'],
    ...['--task-queue', system.taskQueue, '--input', JSON.stringify(ref)],
    ...['--signal-name', 'retry', '--signal-input', JSON.stringify(input)],
  )
}

const audited = async (ref: DistributionRef) =>
  (
    await system.as('acme', (db) =>
      db.query('select actor, action, details from audit_log where resource_id = $1 and actor = $2', [
        ref.distribution_id.slice(5),
        'temporal',
      ]),
    )
  ).rows

/** A distribution whose delivery waits for its next attempt. */
async function waiting(): Promise<DistributionRef> {
  const ref = await system.distribute({ destinations: [restTo('a', away.url)], timeout_seconds: 7200 })
  await expect.poll(() => system.deliveries(ref)).toMatchObject([{ status: 'waiting' }])
  return ref
}

async function failed(): Promise<DistributionRef> {
  receiver.reply({ status: 404 })
  const ref = await system.distribute({ destinations: [restTo('a', receiver.url)] })
  expect(await system.ended(ref)).toMatchObject({ status: 'failed' })
  return ref
}

describe('the signal cancel', () => {
  it('cancels the distribution with its reason, as the actor temporal', async () => {
    const ref = await waiting()
    await signal(ref, 'cancel', { reason: 'sent by mistake' })
    expect(await system.ended(ref)).toMatchObject({ status: 'cancelled', cancel_reason: 'sent by mistake' })
    expect(await audited(ref)).toEqual([
      { actor: 'temporal', action: 'cancel', details: { reason: 'sent by mistake' } },
    ])
  })

  it('needs no argument', async () => {
    const ref = await waiting()
    await signal(ref, 'cancel')
    expect(await system.ended(ref)).toMatchObject({ status: 'cancelled' })
  })

  it('with an invalid argument changes nothing; the query and the history say why', async () => {
    const ref = await waiting()
    await signal(ref, 'cancel', { raeson: 'x' })
    const reason = expect.stringMatching(/^the argument is invalid: .*raeson/)
    await expect
      .poll(async () => (await status(ref)).last_command)
      .toEqual({ command: 'cancel', accepted: false, reason })
    expect(await system.job(ref)).toMatchObject({ status: 'processing' })
    expect(await temporal('show', '-w', distributionWorkflowId(ref))).toContain('the argument is invalid')
    await signal(ref, 'cancel')
    await system.ended(ref)
  })
})

describe('a command with a text that cannot be stored', () => {
  it.each(['a\u0000b', '\ud800'])('is refused, and the run goes on: %j', async (reason) => {
    const ref = await waiting()
    expect(await update(ref, 'cancel', { reason })).toContain('the argument is invalid')
    expect(await system.job(ref)).toMatchObject({ status: 'processing', cancel_reason: null })
    await signal(ref, 'cancel')
    expect(await system.ended(ref)).toMatchObject({ status: 'cancelled' })
  })
})

describe('the signal retry', () => {
  it('while the distribution is open, sends a failed delivery again', async () => {
    receiver.reply(({ path }) => (path === '/a' ? { status: 404 } : { status: 503 }))
    const destinations = [restTo('a', `${receiver.url}/a`), restTo('b', `${receiver.url}/b`)]
    const ref = await system.distribute({ destinations })
    await expect.poll(async () => (await system.deliveries(ref))[0]).toMatchObject({ status: 'failed' })
    receiver.reply({})
    await signal(ref, 'retry', { destinations: ['a'] })
    expect(await system.ended(ref)).toMatchObject({ status: 'completed', round: 2 })
  })

  it('with start, retries a closed distribution, and its new run has the search attributes', async () => {
    const ref = await failed()
    receiver.reply({})
    await retryByStart(ref, { timeout_seconds: 600 })
    await expect.poll(() => system.job(ref)).toMatchObject({ status: 'completed', round: 2 })
    expect(await audited(ref)).toEqual([{ actor: 'temporal', action: 'retry', details: { round: 2, force: false } }])
    const handle = system.temporal.client.workflow.getHandle(distributionWorkflowId(ref))
    await handle.result()
    const { typedSearchAttributes } = await handle.describe()
    const shown = Object.fromEntries(typedSearchAttributes.getAll().map(({ key, value }) => [key.name, value]))
    expect(shown).toMatchObject({
      ...{ TenantId: 'acme', DataType: 'report', DistributionPriority: 'normal', DistributionStatus: 'completed' },
    })
  })

  it('with start, of a completed distribution, is refused without force', async () => {
    receiver.reply({})
    const ref = await system.distribute({ destinations: [restTo('a', receiver.url)] })
    await system.ended(ref)
    await retryByStart(ref, {})
    const reason = 'nothing to retry: the distribution is completed'
    await expect.poll(async () => (await status(ref)).last_command?.reason).toContain(reason)
    await retryByStart(ref, { force: true })
    await expect.poll(() => system.job(ref)).toMatchObject({ status: 'completed', round: 2 })
  })
})

describe('the updates', () => {
  it('answer when the command is applied, or with the reason why it cannot be', async () => {
    const ref = await waiting()
    expect(await update(ref, 'retry', { destinations: ['b'] })).toContain('not a destination of this distribution: b')
    expect(JSON.parse(await update(ref, 'cancel', { reason: 'late' }))).toMatchObject({ result: { accepted: true } })
    expect(await system.ended(ref)).toMatchObject({ status: 'cancelled', cancel_reason: 'late' })
  })
})

describe('the query status', () => {
  it('says what the run waits for, without the database', async () => {
    const ref = await waiting()
    const { until, ...found } = await status(ref)
    expect(found).toEqual({
      ...{ round: 1, waits_for: 'deliveries', last_command: null },
      deliveries: [{ name: 'a', protocol: 'REST', round: 1, state: 'delivering' }],
    })
    const left = Date.parse(until!) - Date.now()
    expect(left).toBeGreaterThan(7_000_000)
    expect(left).toBeLessThan(7_210_000)
    await signal(ref, 'cancel')
    await system.ended(ref)
  })

  it('describes each signal, query and update, and calls the internal ones internal', async () => {
    const ref = await waiting()
    const answer = await temporal('query', '-w', distributionWorkflowId(ref), '--type', '__temporal_workflow_metadata')
    const { definition } = JSON.parse(answer).queryResult[0]
    const described = Object.fromEntries(
      ['queryDefinitions', 'signalDefinitions', 'updateDefinitions'].map((kind) => [
        kind,
        definition[kind].filter(({ name }: { name: string }) => !name.startsWith('__')),
      ]),
    )
    expect(described.signalDefinitions.map(({ name }: { name: string }) => name).sort()).toEqual([
      ...['cancel', 'internal_reread', 'internal_turn', 'retry'],
    ])
    expect(described.updateDefinitions.map(({ name }: { name: string }) => name).sort()).toEqual(['cancel', 'retry'])
    for (const kind of Object.values(described)) {
      for (const { description } of kind) expect(description).toMatch(/^[A-Z].{20,}/)
    }
    await signal(ref, 'cancel')
    await system.ended(ref)
  })
})
