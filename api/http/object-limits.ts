// The error when a tenant exceeds its number of objects: it names the limit and what to do.

import type { Db } from '../../db/pool.ts'
import { type ObjectKind, passedLimit } from '../../db/tenants/object-limits.ts'
import { ApiError } from './errors.ts'

/** Call it after the object was added, in the same transaction. @throws ApiError 409, which rolls it back */
export async function refuseOneTooMany(db: Db, tenantId: string, kind: ObjectKind): Promise<void> {
  const most = await passedLimit(db, tenantId, kind)
  if (most === null) return
  const words = kind === 'api_keys' ? 'usable API keys' : kind.replace('_', ' ')
  const remedy = REMEDIES[kind] ?? 'delete one that is not needed'
  throw new ApiError(
    'CONFLICT',
    `a tenant can have at most ${most} ${words}: ${remedy}, or ask the platform operator to raise object_limits.${kind}`,
  )
}

const REMEDIES: Partial<Record<ObjectKind, string>> = {
  health_checks: 'turn one off',
  api_keys: 'revoke one that is not needed',
}
