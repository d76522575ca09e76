// Whether a payload that was taken once still is what its data type says, which may have changed since.
import type { DataTypeCheck } from '../../db/distributions/jobs.ts'
import { checkAgainstDataType } from '../shaping/payload-check.ts'
import type { Shaper } from '../shaping/shaper.ts'

/** So many are named; the rest is counted. */
const NAMED = 3

/** What is wrong with it, by path and without a value of it; null when nothing is, or when the data type only warns. */
export async function unfitness(
  shaper: Shaper,
  tenantId: string,
  by: DataTypeCheck,
  content: { payload_text: string; metadata_text: string },
): Promise<string | null> {
  const { refused, unfit } = await checkAgainstDataType(shaper, tenantId, by, {
    payload: Buffer.from(content.payload_text, 'utf8'),
    metadata: JSON.parse(content.metadata_text) as object,
  })
  const wrong = by.validation_rules.mode === 'warn' ? refused : [...refused, ...unfit]
  if (wrong.length === 0) return null
  const named = wrong.slice(0, NAMED).map(({ path, issue }) => `${path.join('.')} ${issue}`)
  return wrong.length > NAMED ? `${named.join('; ')} (and ${wrong.length - NAMED} more)` : named.join('; ')
}
