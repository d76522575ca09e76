// Whether a payload is what its data type says. The schema is a tenant's, so that the check runs in a process of its own,
// and outside of any transaction: one that takes its time holds no connection.
import { ShapingError } from '../activities/shaping/shaping-error.ts'
import type { DataTypeCheck } from '../db/jobs.ts'
import type { AppDeps } from './env.ts'
import type { Detail } from './errors.ts'
import { fieldPath } from './json.ts'

/** What a payload was found to be, under one state of its data type. */
export interface CheckedPayload {
  /** Of the data type that it was checked by. */
  state: string
  refusals: Detail[]
  warnings: string[]
}

/** The payload has not been checked by this data type yet: do so, and store again. */
export class NotChecked extends Error {
  readonly by: DataTypeCheck

  constructor(by: DataTypeCheck) {
    super('the payload is not checked yet')
    this.by = by
  }
}

/** Nothing of the payload's values is in what comes out. */
export async function checkPayload(
  shaper: AppDeps['shaper'],
  tenantId: string,
  by: DataTypeCheck,
  submitted: { payload: string; metadata: Record<string, unknown> | null | undefined },
  signal?: AbortSignal,
): Promise<CheckedPayload> {
  const { max_payload_bytes, required_metadata, mode } = by.validation_rules
  const payload = Buffer.from(submitted.payload, 'utf8')
  const refusals: Detail[] = []
  const tooLarge = max_payload_bytes !== undefined && payload.length > max_payload_bytes
  if (tooLarge) {
    refusals.push({ field: 'payload', issue: `must have at most ${max_payload_bytes} bytes` })
  }
  for (const key of required_metadata ?? []) {
    if (Object.hasOwn(submitted.metadata ?? {}, key)) continue
    refusals.push({ field: fieldPath(['metadata', key]), issue: 'is required' })
  }
  const unfit = tooLarge ? [] : await schemaIssues(shaper, tenantId, by, payload, signal)
  if (mode !== 'warn') return { state: by.state, refusals: [...refusals, ...unfit], warnings: [] }
  return { state: by.state, refusals, warnings: unfit.map(({ field, issue }) => `${field} ${issue}`) }
}

/**
 * What is wrong with a schema that is to be kept. Compiling one takes its time, so that it is not done here.
 * @param at where it stands in the request
 */
export async function schemaDefinitionIssues(
  shaper: AppDeps['shaper'],
  tenantId: string,
  schema: Record<string, unknown> | boolean | null | undefined,
  at: string,
): Promise<Detail[]> {
  if (schema === null || schema === undefined) return []
  try {
    const problems = await shaper.judge(tenantId, schema)
    return problems.map(({ path, issue }) => ({ field: fieldPath([at, ...path]), issue }))
  } catch (error) {
    if (!(error instanceof ShapingError)) throw error
    return [{ field: at, issue: `cannot be compiled: ${error.message}` }]
  }
}

async function schemaIssues(
  shaper: AppDeps['shaper'],
  tenantId: string,
  { schema_definition }: DataTypeCheck,
  payload: Buffer,
  signal: AbortSignal | undefined,
): Promise<Detail[]> {
  if (schema_definition === null) return []
  try {
    const problems = await shaper.check(tenantId, schema_definition, payload, signal)
    return problems.map(({ path, issue }) => ({ field: fieldPath(['payload', ...path]), issue }))
  } catch (error) {
    if (!(error instanceof ShapingError)) throw error
    return [{ field: 'payload', issue: `cannot be checked against the schema of its data type: ${error.message}` }]
  }
}
