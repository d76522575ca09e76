// Starts, signals and finds the runs of distributions in Temporal. The API and the sweep both use this file, so that
// their runs are the same.

import {
  Client,
  type ConnectionLike,
  WorkflowExecutionAlreadyStartedError,
  WorkflowNotFoundError,
} from '@temporalio/client'
import {
  defineSearchAttributeKey,
  SearchAttributeType,
  WorkflowIdConflictPolicy,
  WorkflowIdReusePolicy,
} from '@temporalio/common'
import type { JobStatus } from '../../db/states.ts'
import type { About, Runs } from '../../workflows/client.ts'
import {
  CANCEL_SIGNAL,
  type DistributionRef,
  REREAD_SIGNAL,
  RETRY_SIGNAL,
  TURN_SIGNAL,
} from '../../workflows/messages.ts'
import {
  batchWorkflowId,
  distributionWorkflowId,
  queuePriority,
  resumeWorkflowId,
  type SearchAttribute,
  webhookWorkflowId,
} from '../../workflows/names.ts'
import { setHealthCheck } from './health-checks.ts'

import { describeSchedule, setSchedule } from './schedules.ts'

export interface RunsOptions {
  connection: ConnectionLike
  namespace: string
  taskQueue: string
  /** The client shares its connection with a worker of this process: the first workflow task needs no poll. */
  eager: boolean
  /** Whether the server divides its queues by weight (`matching.enableFairness`); true if absent. */
  fairness?: boolean
  /** The attributes that exist in the namespace. */
  searchAttributes: () => ReadonlySet<SearchAttribute>
}

const TERMINATED = 'TERMINATED'

export function createRuns(options: RunsOptions): Runs {
  const { connection, namespace, taskQueue } = options
  const { workflow } = new Client({ connection, namespace })

  const startOptions = (ref: DistributionRef, about: About) => ({
    workflowId: distributionWorkflowId(ref),
    taskQueue,
    args: [ref] as [DistributionRef],
    staticSummary: `${about.data_type}, ${about.priority}`,
    priority: queuePriority(ref.tenant_id, about.priority, options.fairness ?? true),
    typedSearchAttributes: attributesOf(ref, about, options.searchAttributes()),
    workflowIdConflictPolicy: WorkflowIdConflictPolicy.USE_EXISTING,
  })

  async function signalWithStart(ref: DistributionRef, about: About, signal: string): Promise<void> {
    await workflow.signalWithStart('distribute', {
      ...startOptions(ref, about),
      workflowIdReusePolicy: WorkflowIdReusePolicy.ALLOW_DUPLICATE,
      signal,
    })
  }

  return {
    async start(ref, about) {
      await ignoreStarted(
        workflow.start('distribute', {
          ...startOptions(ref, about),
          workflowIdReusePolicy: WorkflowIdReusePolicy.REJECT_DUPLICATE,
          ...(options.eager ? { requestEagerStart: true } : {}),
        }),
      )
    },
    async startAgain(ref, about) {
      await workflow.start('distribute', {
        ...startOptions(ref, about),
        workflowIdReusePolicy: WorkflowIdReusePolicy.ALLOW_DUPLICATE,
      })
    },
    signalCancel: (ref, about) => signalWithStart(ref, about, CANCEL_SIGNAL),
    signalRetry: (ref, about) => signalWithStart(ref, about, RETRY_SIGNAL),
    async signalReread(ref) {
      try {
        await workflow.getHandle(distributionWorkflowId(ref)).signal(REREAD_SIGNAL)
      } catch (error) {
        if (!(error instanceof WorkflowNotFoundError)) throw error
      }
    },
    async signalTurn(ref, destinations) {
      try {
        await workflow.getHandle(distributionWorkflowId(ref)).signal(TURN_SIGNAL, destinations)
      } catch (error) {
        if (!(error instanceof WorkflowNotFoundError)) throw error
      }
    },
    async resume(ref) {
      await workflow.signalWithStart('resume', {
        workflowId: resumeWorkflowId(ref),
        taskQueue,
        args: [ref],
        priority: { fairnessKey: ref.tenant_id },
        workflowIdReusePolicy: WorkflowIdReusePolicy.ALLOW_DUPLICATE,
        signal: REREAD_SIGNAL,
      })
    },
    async describe(ref) {
      try {
        const { status, closeTime } = await workflow.getHandle(distributionWorkflowId(ref)).describe()
        if (!closeTime) return { state: 'running' }
        return { state: status.name === TERMINATED ? 'terminated' : 'closed', closed_at: closeTime }
      } catch (error) {
        if (error instanceof WorkflowNotFoundError) return { state: 'unknown' }
        throw error
      }
    },
    async startWebhook(ref, again) {
      await ignoreStarted(
        workflow.start('webhook', {
          workflowId: webhookWorkflowId(ref),
          taskQueue,
          args: [ref],
          priority: { fairnessKey: ref.tenant_id },
          // Also starts a run again that ended while its row is still open, after Temporal lost data.
          workflowIdReusePolicy: WorkflowIdReusePolicy.ALLOW_DUPLICATE,
          ...(again ? { workflowIdConflictPolicy: WorkflowIdConflictPolicy.TERMINATE_EXISTING } : {}),
        }),
      )
    },
    async startBatch(ref) {
      await workflow.signalWithStart('batch', {
        workflowId: batchWorkflowId(ref),
        taskQueue,
        args: [ref],
        signal: REREAD_SIGNAL,
        priority: { fairnessKey: ref.tenant_id },
        workflowIdConflictPolicy: WorkflowIdConflictPolicy.USE_EXISTING,
        // A second run reads in the rows that nothing is left to do.
        workflowIdReusePolicy: WorkflowIdReusePolicy.ALLOW_DUPLICATE,
      })
    },
    setSchedule: (row, resume) => setSchedule(options, row, resume),
    describeSchedule: (row) => describeSchedule(options, row),
    async probe(input) {
      return await workflow.execute('probe', {
        workflowId: `probe/${input.tenant_id}/${input.destination_id}/${crypto.randomUUID()}`,
        taskQueue,
        args: [input],
        workflowExecutionTimeout: '20 s',
      })
    },
    healthCheck: (check) => setHealthCheck(options, check),
  }
}

async function ignoreStarted(started: Promise<unknown>): Promise<void> {
  try {
    await started
  } catch (error) {
    if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error
  }
}

function attributesOf(ref: DistributionRef, about: About, existing: ReadonlySet<SearchAttribute>) {
  const values: [SearchAttribute, string][] = [
    ['TenantId', ref.tenant_id],
    ['DataType', about.data_type],
    ['DistributionPriority', about.priority],
    ['DistributionStatus', 'processing' satisfies JobStatus],
  ]
  return values
    .filter(([name]) => existing.has(name))
    .map(([name, value]) => ({ key: defineSearchAttributeKey(name, SearchAttributeType.KEYWORD), value }))
}
