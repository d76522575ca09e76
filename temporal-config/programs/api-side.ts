// How the API alone reaches Temporal. It loads nothing of the SDK's worker.

import type { Dispatcher } from '../../workflows/client.ts'
import { MAIN_QUEUE } from '../../workflows/names.ts'
import { connectLazily, type TemporalAddress } from '../client/connection.ts'
import { createDispatcher } from '../client/dispatcher.ts'
import { temporalHealth } from '../client/health.ts'
import { keepSearchAttributes } from '../client/keep-search-attributes.ts'
import { createRuns } from '../client/runs.ts'
import type { Life } from '../process/program.ts'
import type { Parts } from './composition.ts'

/** Connects when it is first used, and answers without Temporal meanwhile. */
export function connectApi(parts: Pick<Parts, 'logger'>, temporal: TemporalAddress, life: Life): Dispatcher {
  const connection = connectLazily(temporal)
  life.atEnd('the connection to Temporal', () => connection.close())
  const attributes = keepSearchAttributes(connection, temporal.namespace, life.ending)
  const runs = createRuns({
    connection,
    namespace: temporal.namespace,
    taskQueue: MAIN_QUEUE,
    eager: false,
    fairness: temporal.fairness ?? true,
    searchAttributes: attributes.present,
  })
  return createDispatcher({
    runs: () => runs,
    health: () => temporalHealth(connection, temporal.namespace, MAIN_QUEUE),
    logger: parts.logger,
  })
}
