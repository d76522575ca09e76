// Whether an accepted payload is still valid for its data type, which may have changed since the acceptance.
import type { DataTypeCheck } from '../../db/distributions/jobs.ts'
import { checkAgainstDataType } from '../shaping/payload-check.ts'
import type { Shaper } from '../shaping/shaper.ts'

/** The result names so many problems, and counts the rest. */
const NAMED = 3

/**
 * The problems with their paths, without values of the payload. Null when there are none, or the data type only warns.
 */
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
