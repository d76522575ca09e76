// Saved histories must still replay: a change of a workflow that breaks open runs fails here.
// `RECORD_HISTORIES=1 npx vitest run test/replay` records those of the present workflows anew; the next run replays them.
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { historyToJSON } from '@temporalio/common/lib/proto-utils.js'
import { Worker } from '@temporalio/worker'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { insertBatch, newBatchId } from '../../db/batches/batches.ts'
import { insertBatchItems } from '../../db/batches/items.ts'
import { noteFailure, resetCircuit } from '../../db/destinations/circuits.ts'
import { requestCancel, requestRetry } from '../../db/distributions/commands.ts'
import { jobId } from '../../db/distributions/job-id.ts'
import { submitJob } from '../../db/distributions/jobs.ts'
import { insertRule } from '../../db/rules/rules.ts'
import { insertSchedule, type ScheduleRow } from '../../db/schedules/schedules.ts'
import type { RuleType } from '../../db/states.ts'
import type { DistributionRef } from '../../workflows/messages.ts'
import { batchWorkflowId, distributionWorkflowId, resumeWorkflowId } from '../../workflows/names.ts'
import { type HttpReceiver, startHttpReceiver } from '../support/receivers/http.ts'
import { ABOUT, aJob, createTestSystem, restTo, type TestSystem } from '../support/system.ts'
import { workflowBundle } from '../support/workflow-bundle.ts'

const HISTORIES = fileURLToPath(new URL('./histories', import.meta.url))
const RECORD = process.env.RECORD_HISTORIES === '1'

describe('saved histories', () => {
  if (RECORD) recordHistories()

  const files = existsSync(HISTORIES) ? readdirSync(HISTORIES).sort() : []

  it('are there', () => {
    expect(files.length).toBeGreaterThanOrEqual(5)
  })

  it.each(files)('%s replays', async (file) => {
    const history = JSON.parse(readFileSync(join(HISTORIES, file), 'utf8'))
    await Worker.runReplayHistory({ workflowBundle: await workflowBundle() }, history, `distribution/acme/${file}`)
  })

  it('a history that does not fit is told apart', async () => {
    const history = JSON.parse(readFileSync(join(HISTORIES, files[0]!), 'utf8'))
    const scheduled = history.events.find(
      (event: Record<string, unknown>) => event.activityTaskScheduledEventAttributes,
    )
    scheduled.activityTaskScheduledEventAttributes.activityType.name = 'somethingElse'
    await expect(Worker.runReplayHistory({ workflowBundle: await workflowBundle() }, history)).rejects.toThrow()
  })
})

function recordHistories() {
  let system: TestSystem
  let receiver: HttpReceiver
  beforeAll(async () => {
    system = await createTestSystem()
    await system.tenant('acme')
    receiver = await startHttpReceiver()
    await system.startWorkers()
    mkdirSync(HISTORIES, { recursive: true })
    await record('delivered', async () => system.distribute({ destinations: [restTo('a', receiver.url)] }))
    await record('failed-with-siblings', async () =>
      system.distribute({ destinations: [restTo('a', receiver.url), restTo('b', `${receiver.url}/404`)] }),
    )
    await record('retried-by-itself', async () =>
      system.distribute({ destinations: [restTo('a', `${receiver.url}/503-once`)] }),
    )
    await record('cancelled', async () => {
      const ref = await system.distribute({ destinations: [restTo('a', `${receiver.url}/503`)] })
      await vi.waitFor(async () => expect(await system.deliveries(ref)).toMatchObject([{ status: 'waiting' }]))
      await system.as('acme', (db) => requestCancel(db, jobId(ref.distribution_id), null))
      await system.runs.signalCancel(ref, ABOUT)
      return ref
    })
    await record('expired', async () =>
      system.distribute({ timeout_seconds: 1, destinations: [restTo('a', `${receiver.url}/503`)] }),
    )
    await record('retried-by-hand-while-open', async () => {
      const ref = await system.distribute({
        timeout_seconds: 20,
        destinations: [restTo('a', `${receiver.url}/404-once`), restTo('b', `${receiver.url}/503-twice`)],
      })
      await vi.waitFor(async () => expect((await system.deliveries(ref))[0]?.status).toBe('failed'))
      await system.as('acme', (db) => requestRetry(db, jobId(ref.distribution_id), { force: false }))
      await system.runs.signalRetry(ref, ABOUT)
      return ref
    })
    await record('later-with-callback', async () =>
      system.distribute({
        deliver_at: new Date(Date.now() + 1000),
        callback_url: receiver.url,
        destinations: [restTo('a', receiver.url)],
      }),
    )
    await record('held-under-an-ordering-key', async () => {
      const ordered = (path: string) =>
        system.distribute({ ordering_key: 'k', destinations: [restTo('a', `${receiver.url}/${path}`)] })
      await ordered('503-twice')
      return ordered('')
    })
    const scheduled = async () => {
      const row = await system.as('acme', (db) =>
        insertSchedule(db, 'acme', {
          ...{ name: 'scheduled', description: null, cron: null, interval_seconds: 60, time_zone: 'UTC' },
          ...{ overlap: 'skip', catchup_seconds: 60, paused: false, submission: '{}', payload_text: '{}' },
          metadata_text: '{}',
          template: {
            ...{ ...ABOUT, payload_queryable: true, destinations: [restTo('a', `${receiver.url}/503-once`)] },
            ...{ callback_url: null, max_retries: 3, timeout_seconds: 60, options: {} },
          },
        }),
      )
      const workflowId = 'schedule/acme/scheduled'
      const args = [{ tenant_id: 'acme', schedule_id: (row as ScheduleRow).id }]
      await system.temporal.client.workflow.start('scheduled', { workflowId, taskQueue: system.taskQueue, args })
      return workflowId
    }
    await record('scheduled', scheduled)
    await record('resumed', async () => (await resumeOne()).ref)
    await record('resume', async () => (await resumeOne()).workflow)
    await record('batch', async () => {
      const batch_id = await system.as('acme', async (db) => {
        const { id } = await submitJob(db, aJob({ destinations: [restTo('a', receiver.url)] }))
        const batch = { id: await newBatchId(db), tenant_id: 'acme', kind: 'submit' as const, options: {} }
        const rest = {
          total_distributions: 1,
          callback_url: receiver.url,
          rejected: [],
          request_id: 'r',
          actor: 'test',
        }
        await insertBatch(db, { ...batch, ...rest })
        await insertBatchItems(db, 'acme', batch.id, [{ job_id: id, started: false }])
        // As a batch inserts it: it waits until the batch starts it.
        await db.query("update distribution_jobs set check_at = 'infinity' where id = $1", [id])
        return batch.id
      })
      const ref = { tenant_id: 'acme', batch_id }
      await system.runs.startBatch(ref)
      return batchWorkflowId(ref)
    })
    await record('no-destination', async () => system.distribute({ destinations: [] }))
    await record('failover-at-a-changed-priority', async () => {
      for (const [name, path] of [
        ['first', '/404'],
        ['second', ''],
        ['third', ''],
      ]) {
        await system.as('acme', (db) =>
          db.query(
            `insert into destinations (tenant_id, name, protocol, configuration)
             values ('acme', $1, 'REST', jsonb_build_object('endpoint', $2::text))`,
            [name, `${receiver.url}${path}`],
          ),
        )
      }
      await addRule('routing', { destinations: ['first', 'second', 'third'], strategy: 'failover' })
      await addRule('prioritization', { priority: 'critical' })
      return system.distribute({ destinations: [] })
    })
  }, 120_000)
  afterAll(async () => {
    await system.close()
    await receiver.close()
  })

  /** A distribution that waits for an open circuit, until the circuit closes and it is resumed. */
  async function resumeOne(): Promise<{ ref: DistributionRef; workflow: string }> {
    const target = `REST://127.0.0.1:${receiver.port}`
    const settings = { failures: 1, open_seconds: 3600 }
    const failure = { attempt_id: crypto.randomUUID(), counted: true, settings }
    await system.as('acme', (db) => noteFailure(db, { tenant_id: 'acme', target, delivery_id: 'x' }, failure))
    const ref = await system.distribute({ destinations: [restTo('a', receiver.url)] })
    await vi.waitFor(async () => expect(await system.deliveries(ref)).toMatchObject([{ status: 'waiting' }]), {
      timeout: 20_000,
    })
    await system.as('acme', (db) => resetCircuit(db, 'acme', target))
    await system.runs.resume({ tenant_id: 'acme', target })
    return { ref, workflow: resumeWorkflowId({ tenant_id: 'acme', target }) }
  }

  function addRule(rule_type: RuleType, actions: object): Promise<unknown> {
    const rest = { description: null, conditions: '{}', priority: 0, enabled: true }
    const rule = { name: rule_type, rule_type, actions: JSON.stringify(actions), ...rest }
    return system.as('acme', (db) => insertRule(db, 'acme', rule, []))
  }

  /** `act` answers the distribution or the id of the workflow whose history is kept. */
  async function record(name: string, act: () => Promise<DistributionRef | string>): Promise<void> {
    const file = join(HISTORIES, `${name}.json`)
    const seen = new Map<string, number>()
    receiver.reply(({ path }) => {
      const turn = (seen.get(path) ?? 0) + 1
      seen.set(path, turn)
      const [status, often] = path.slice(1).split('-')
      const failing = often === undefined || turn <= (often === 'once' ? 1 : 2)
      return { status: status && failing ? Number(status) : 200 }
    })
    const ran = await act()
    const id = typeof ran === 'string' ? ran : distributionWorkflowId(ran)
    const handle = system.temporal.client.workflow.getHandle(id)
    await handle.result()
    writeFileSync(file, `${JSON.stringify(JSON.parse(historyToJSON(await handle.fetchHistory())))}\n`)
  }
}
