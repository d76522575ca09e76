// Whether a payload that was taken once still is what its data type says, which may have changed since.
import type { DataTypeCheck } from '../db/jobs.ts'
import type { Shaper } from './shaping/shaper.ts'
import { ShapingError } from './shaping/shaping-error.ts'

/** So many are named; the rest is counted. */
const NAMED = 3

/** What is wrong with it, by path and without a value of it; null when nothing is, or when the data type only warns. */
export async function unfitness(
  shaper: Shaper,
  tenantId: string,
  { schema_definition, validation_rules }: DataTypeCheck,
  content: { payload_text: string; metadata_text: string },
): Promise<string | null> {
  const { max_payload_bytes, required_metadata = [], mode } = validation_rules
  const payload = Buffer.from(content.payload_text, 'utf8')
  const metadata = JSON.parse(content.metadata_text) as object
  if (max_payload_bytes !== undefined && payload.length > max_payload_bytes) {
    return `payload must have at most ${max_payload_bytes} bytes`
  }
  const missing = required_metadata.filter((key) => !Object.hasOwn(metadata, key))
  if (missing.length > 0) return `metadata.${missing.join(', metadata.')} is required`
  if (schema_definition === null || mode === 'warn') return null
  try {
    const problems = await shaper.check(tenantId, schema_definition, payload)
    if (problems.length === 0) return null
    const named = problems.slice(0, NAMED).map(({ path, issue }) => `${['payload', ...path].join('.')} ${issue}`)
    return problems.length > NAMED ? `${named.join('; ')} (and ${problems.length - NAMED} more)` : named.join('; ')
  } catch (error) {
    if (!(error instanceof ShapingError)) throw error
    return `payload cannot be checked against the schema of its data type: ${error.message}`
  }
}
