// Keeps unexpected errors out of Temporal's history: the text or the cause of a driver's error may contain a password.
// The history gets only a safe text and a reference to the log.
import { randomUUID } from 'node:crypto'
import { CompleteAsyncError, type Context } from '@temporalio/activity'
import { ApplicationFailure, CancelledFailure } from '@temporalio/common'
import type { ActivityInboundCallsInterceptor } from '@temporalio/worker'
import type { Logger } from 'pino'
import { isStalePlan } from '../db/availability.ts'

export function safeFailures(logger: Logger): (context: Context) => { inbound: ActivityInboundCallsInterceptor } {
  return (context) => ({
    inbound: {
      async execute(input, next) {
        try {
          return await next(input)
        } catch (error) {
          if (error instanceof CancelledFailure || error instanceof CompleteAsyncError) throw error
          if (error instanceof ApplicationFailure) throw withoutStack(error)
          const reference = randomUUID()
          const { activityType, workflowExecution, attempt } = context.info
          const facts = { reference, activity: activityType, workflow_id: workflowExecution?.workflowId, attempt }
          if (isStalePlan(error)) logger.warn(facts, 'the schema has changed; the activity is repeated')
          else logger.error({ err: error, ...facts }, 'activity failed unexpectedly')
          throw withoutStack(
            ApplicationFailure.retryable(
              `An unexpected error; see the log entry with the reference ${reference}`,
              'UNEXPECTED',
            ),
          )
        }
      },
    },
  })
}

function withoutStack(failure: ApplicationFailure): ApplicationFailure {
  failure.stack = ''
  return failure
}
