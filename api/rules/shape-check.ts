// Checks a shape alone and together with its destination. Expressions and schemas are checked in another process, because
// parsing one may take seconds.
import { findProtocol } from '../../activities/destinations/registry.ts'
import { shapeConfig, shapes } from '../../activities/shaping/config.ts'
import { ShapingError } from '../../activities/shaping/shaping-error.ts'
import type { Protocol } from '../../db/states.ts'
import type { AppDeps } from '../http/context.ts'
import type { Detail } from '../http/errors.ts'
import { fieldPath } from '../http/json.ts'
import { issuesOf } from '../schemas/issues.ts'

/**
 * All problems of a shape for a destination.
 * @param at its path in the request
 * @param overruled a following shape decides the output
 */
export async function shapingIssues(
  shaper: AppDeps['shaper'],
  tenantId: string,
  { protocol, configuration }: { protocol: Protocol; configuration: Record<string, unknown> },
  shape: Record<string, unknown> | null | undefined,
  at: string[],
  overruled: { output: boolean } = { output: false },
): Promise<Detail[]> {
  if (!shapes(shape)) return []
  const parsed = shapeConfig.safeParse(shape)
  const details = parsed.success ? [] : issuesOf(shapeConfig, parsed.error, at)
  details.push(...(await costlyIssues(shaper, tenantId, shape, at)))
  const format = parsed.data?.output?.format ?? 'json'
  const reason = findProtocol(protocol)?.needsJson?.(configuration)
  if (reason && format !== 'json' && !overruled.output) {
    details.push({ field: fieldPath([...at, 'output']), issue: `must be json: ${reason}` })
  }
  return details
}

/** Problems of the expression and the schema of a shape. Slow: do not call it within a transaction. */
export async function costlyIssues(
  shaper: AppDeps['shaper'],
  tenantId: string,
  shape: unknown,
  at: string[],
): Promise<Detail[]> {
  try {
    const problems = await shaper.checkShape(tenantId, shape)
    return problems.map(({ path, issue }) => ({ field: fieldPath([...at, ...path]), issue }))
  } catch (error) {
    if (!(error instanceof ShapingError)) throw error
    return [{ field: fieldPath(at), issue: `cannot be checked: ${error.message}` }]
  }
}
