// Whether Temporal answers, knows our search attributes, and has workers that poll: asked by `ready`.

import type { ConnectionLike } from '@temporalio/client'
import { now } from '../../db/clock.ts'
import type { TemporalHealth } from '../../workflows/client.ts'
import { SEARCH_ATTRIBUTES } from '../../workflows/names.ts'
import { presentSearchAttributes } from './search-attributes.ts'

/** A poller that was seen within this time counts as alive (a long poll lasts a minute). */
const RECENT_MS = 90_000
/** `temporal.api.enums.v1.TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW` */
const WORKFLOW_QUEUE = 1

/** The latest poll of each queue, and when it was first seen, by the monotonic clock. */
const seen = new Map<string, { poll: number; at: number }>()

/**
 * Whether a poll is recent: by its time, or because it changed a short time ago. The second check is needed because
 * Temporal's clock may differ from the database's.
 */
export function isRecent(queue: string, poll: number, at: number = performance.now()): boolean {
  const known = seen.get(queue)
  if (poll === 0) return false
  if (known?.poll !== poll) seen.set(queue, { poll, at: known && poll > known.poll ? at : Number.NEGATIVE_INFINITY })
  return poll > now() - RECENT_MS || at - seen.get(queue)!.at < RECENT_MS
}

export async function temporalHealth(
  connection: ConnectionLike,
  namespace: string,
  taskQueue: string,
): Promise<TemporalHealth> {
  const { pollers } = await connection.workflowService.describeTaskQueue({
    namespace,
    taskQueue: { name: taskQueue },
    taskQueueType: WORKFLOW_QUEUE,
  })
  const present = await presentSearchAttributes(connection, namespace).catch(() => null)
  return {
    temporal: true,
    missing_search_attributes: present === null ? [] : SEARCH_ATTRIBUTES.filter((name) => !present.has(name)),
    worker_polling: isRecent(
      `${namespace}/${taskQueue}`,
      Math.max(0, ...pollers.map(({ lastAccessTime }) => Number(lastAccessTime?.seconds ?? 0) * 1000)),
    ),
  }
}
