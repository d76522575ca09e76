// All endpoints of the API. If two paths match a request, the first one serves it: a fixed word such as `list` comes before
// an `{id}`.
import type { Endpoint } from './http/endpoint.ts'
import * as apiKeys from './routes/api-keys.ts'
import * as auditLog from './routes/audit-log.ts'
import * as batches from './routes/batches.ts'
import * as bulkRetry from './routes/bulk-retry.ts'
import * as bulkSubmit from './routes/bulk-submit.ts'
import * as commands from './routes/commands.ts'
import * as credentials from './routes/credentials.ts'
import * as dataTypes from './routes/data-types.ts'
import * as destinationActions from './routes/destination-actions.ts'
import * as destinations from './routes/destinations.ts'
import * as distributions from './routes/distributions.ts'
import { payload } from './routes/payload.ts'
import * as preview from './routes/preview.ts'
import * as routing from './routes/routing.ts'
import * as ruleTrial from './routes/rule-trial.ts'
import * as rules from './routes/rules.ts'
import * as scheduleActions from './routes/schedule-actions.ts'
import * as schedules from './routes/schedules.ts'
import * as service from './routes/service.ts'
import * as tenants from './routes/tenants.ts'
import * as webhooks from './routes/webhooks.ts'
import { whoami } from './routes/whoami.ts'

/** Under `/api/v1`. */
export const ENDPOINTS: readonly Endpoint[] = [
  bulkSubmit.submit,
  bulkRetry.retry,
  batches.status,
  batches.cancel,

  schedules.create,
  schedules.list,
  schedules.show,
  schedules.replace,
  schedules.remove,
  scheduleActions.pause,
  scheduleActions.resume,
  scheduleActions.trigger,

  distributions.submit,
  distributions.list,
  distributions.status,
  distributions.attemptList,
  payload,
  webhooks.callbacks,
  webhooks.resendCallback,
  commands.cancel,
  commands.retry,
  commands.release,

  destinations.register,
  destinations.list,
  destinations.show,
  destinations.replace,
  destinations.remove,
  destinationActions.test,
  destinationActions.enable,
  destinationActions.disable,
  destinationActions.types,
  preview.shape,

  dataTypes.add,
  dataTypes.list,
  dataTypes.show,
  dataTypes.replace,
  dataTypes.remove,

  rules.add,
  rules.list,
  ruleTrial.evaluate,
  rules.show,
  rules.change,
  rules.remove,
  routing.explain,
  routing.showDefault,
  routing.setDefault,

  credentials.add,
  credentials.list,
  credentials.show,
  credentials.replace,
  credentials.remove,

  webhooks.list,
  webhooks.resend,

  auditLog.list,
  tenants.add,
  tenants.list,
  tenants.show,
  tenants.change,
  apiKeys.add,
  apiKeys.list,
  apiKeys.revoke,

  whoami,
]

/** Health and metrics: outside `/api/v1`, and without a rate limit. */
export const SERVICE_ENDPOINTS: readonly Endpoint[] = [service.live, service.ready, service.detailed, service.metrics]
