// Validates payloads by their data type, and the schemas of data types.
import { checkAgainstDataType, type Misfit } from '../../activities/shaping/payload-check.ts'
import { ShapingError } from '../../activities/shaping/shaping-error.ts'
import type { DataTypeCheck } from '../../db/distributions/jobs.ts'
import type { AppDeps } from '../http/context.ts'
import type { Detail } from '../http/errors.ts'
import { fieldPath } from '../http/json.ts'

/** The result of a check by one version of a data type. */
export interface CheckedPayload {
  /** The version of the data type. */
  state: string
  refusals: Detail[]
  warnings: string[]
}

/** The payload must be checked by this data type first; then the transaction is repeated. */
export class NotChecked extends Error {
  readonly by: DataTypeCheck

  constructor(by: DataTypeCheck) {
    super('the payload is not checked yet')
    this.by = by
  }
}

/** The result contains no values of the payload. */
export async function checkPayload(
  shaper: AppDeps['shaper'],
  tenantId: string,
  by: DataTypeCheck,
  submitted: { payload: Buffer; metadata: Record<string, unknown> | null | undefined },
  signal?: AbortSignal,
): Promise<CheckedPayload> {
  const content = { payload: submitted.payload, metadata: submitted.metadata ?? {} }
  const found = await checkAgainstDataType(shaper, tenantId, by, content, signal)
  const [refused, unfit] = [details(found.refused), details(found.unfit)]
  if (by.validation_rules.mode !== 'warn') return { state: by.state, refusals: [...refused, ...unfit], warnings: [] }
  return { state: by.state, refusals: refused, warnings: unfit.map(({ field, issue }) => `${field} ${issue}`) }
}

function details(misfits: readonly Misfit[]): Detail[] {
  return misfits.map(({ path, issue }) => ({ field: fieldPath(path), issue }))
}

/**
 * Problems of a schema. It is compiled in a shaping process, because that may take long.
 * @param schema a text is JSON
 * @param at its path in the request
 */
export async function schemaDefinitionIssues(
  shaper: AppDeps['shaper'],
  tenantId: string,
  schema: Record<string, unknown> | boolean | string | null | undefined,
  at: string,
): Promise<Detail[]> {
  if (schema === null || schema === undefined) return []
  try {
    const problems = await shaper.checkSchema(tenantId, schema)
    return problems.map(({ path, issue }) => ({ field: fieldPath([at, ...path]), issue }))
  } catch (error) {
    if (!(error instanceof ShapingError)) throw error
    return [{ field: at, issue: `cannot be compiled: ${error.message}` }]
  }
}
