// Whether a payload fits its data type. The schema is the tenant's, so the check runs in a shaping process, and outside of any
// transaction: a slow check holds no connection.
import type { DataTypeCheck } from '../../db/distributions/jobs.ts'
import type { Shaper } from './shaper.ts'
import { ShapingError } from './shaping-error.ts'

/** A problem and its path, from `payload` or `metadata` on; never a value. */
export interface Misfit {
  path: (string | number)[]
  issue: string
}

export interface Misfits {
  /** Always refused: the size, and missing required metadata. */
  refused: Misfit[]
  /** Problems found by the schema; only warnings when the data type's mode is `warn`. */
  unfit: Misfit[]
}

export async function checkAgainstDataType(
  shaper: Shaper,
  tenantId: string,
  { schema_definition, validation_rules }: DataTypeCheck,
  content: { payload: Buffer; metadata: object },
  signal?: AbortSignal,
): Promise<Misfits> {
  const { max_payload_bytes, required_metadata = [] } = validation_rules
  const { payload } = content
  const tooLarge = max_payload_bytes !== undefined && payload.length > max_payload_bytes
  const refused: Misfit[] = tooLarge
    ? [{ path: ['payload'], issue: `must have at most ${max_payload_bytes} bytes` }]
    : []
  for (const key of required_metadata) {
    if (!Object.hasOwn(content.metadata, key)) refused.push({ path: ['metadata', key], issue: 'is required' })
  }
  if (schema_definition === null || tooLarge) return { refused, unfit: [] }
  try {
    const problems = await shaper.check(tenantId, schema_definition, payload, signal)
    return { refused, unfit: problems.map(({ path, issue }) => ({ path: ['payload', ...path], issue })) }
  } catch (error) {
    if (!(error instanceof ShapingError)) throw error
    const issue = `cannot be checked against the schema of its data type: ${error.message}`
    return { refused, unfit: [{ path: ['payload'], issue }] }
  }
}
