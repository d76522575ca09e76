// Shapes as they are stored, read for use. In the process that hands out the work: reading one is bounded, and the schema of
// shapes need not be loaded by each shaping process.
import { type Shape, shapeConfig } from './config.ts'
import { ShapingError } from './shaping-error.ts'
import { cachedByText } from './text-cache.ts'

const read = cachedByText((text): Shape => {
  const parsed = shapeConfig.safeParse(JSON.parse(text))
  if (parsed.success) return parsed.data
  const [issue] = parsed.error.issues
  throw new ShapingError('limits', `the stored configuration is not valid: ${issue!.path.join('.')}: ${issue!.message}`)
})

/**
 * What was stored is what was checked, unless a newer version checks more.
 * @throws ShapingError
 */
export function readStoredShape(shape: object): Shape {
  return read(JSON.stringify(shape))
}
