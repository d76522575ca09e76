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
import { now } from '../../db/clock.ts'
import type { Runs } from '../../workflows/client.ts'
import {
  type About,
  type CommandName,
  type DistributionRef,
  type InRows,
  REREAD_SIGNAL,
  TURN_SIGNAL,
} from '../../workflows/messages.ts'
import {
  batchWorkflowId,
  distributionWorkflowId,
  queuePriority,
  refOfWorkflowId,
  resumeWorkflowId,
  type SearchAttribute,
  searchAttributeValues,
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
    typedSearchAttributes: searchAttributeValues(ref, about, options.searchAttributes()).map(([name, value]) => ({
      key: defineSearchAttributeKey(name, SearchAttributeType.KEYWORD),
      value,
    })),
    workflowIdConflictPolicy: WorkflowIdConflictPolicy.USE_EXISTING,
  })

  /** For a command that is in the rows already. */
  async function signalCommand(ref: DistributionRef, about: About, signal: CommandName): Promise<void> {
    await workflow.signalWithStart('distribute', {
      ...startOptions(ref, about),
      workflowIdReusePolicy: WorkflowIdReusePolicy.ALLOW_DUPLICATE,
      signal,
      signalArgs: [{ in_rows: true } satisfies InRows],
    })
  }

  return {
    searchAttributes: options.searchAttributes,
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
    signalCancel: (ref, about) => signalCommand(ref, about, 'cancel'),
    signalRetry: (ref, about) => signalCommand(ref, about, 'retry'),
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
    async terminated(seconds, limit) {
      const since = new Date(now() - seconds * 1000).toISOString()
      const query = `WorkflowType = 'distribute' AND ExecutionStatus = 'Terminated' AND CloseTime > '${since}'`
      const found: DistributionRef[] = []
      for await (const { workflowId } of workflow.list({ query, pageSize: Math.min(limit, 200) })) {
        const ref = refOfWorkflowId(workflowId)
        if (ref) found.push(ref)
        if (found.length === limit) break
      }
      return found
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
