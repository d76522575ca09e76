// The refusal of one object too many: which limit it is, and the way out.

import type { Db } from '../../db/pool.ts'
import { type ObjectKind, passedLimit } from '../../db/tenants/object-limits.ts'
import { ApiError } from './errors.ts'

/** After it was added, in the same transaction. @throws ApiError 409, which undoes it */
export async function refuseOneTooMany(db: Db, tenantId: string, kind: ObjectKind): Promise<void> {
  const most = await passedLimit(db, tenantId, kind)
  if (most === null) return
  const words = kind === 'api_keys' ? 'usable API keys' : kind.replace('_', ' ')
  const release = WAYS_OUT[kind] ?? 'delete one that is not needed'
  throw new ApiError(
    'CONFLICT',
    `a tenant can have at most ${most} ${words}: ${release}, or ask the platform operator to raise object_limits.${kind}`,
  )
}

const WAYS_OUT: Partial<Record<ObjectKind, string>> = {
  health_checks: 'turn one off',
  api_keys: 'revoke one that is not needed',
}
