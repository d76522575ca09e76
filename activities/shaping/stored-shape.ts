// Parses stored shapes. It runs in the process that assigns the tasks: the cost of parsing is bounded, and the shaping
// processes need not load the schema of shapes.
import { type Shape, shapeConfig } from './config.ts'
import { ShapingError } from './shaping-error.ts'
import { cachedByText } from './text-cache.ts'

const read = cachedByText((text): Shape => {
  const parsed = shapeConfig.safeParse(JSON.parse(text))
  if (parsed.success) return parsed.data
  const [issue] = parsed.error.issues
  throw new ShapingError('limits', `the stored configuration is not valid: ${issue!.path.join('.')}: ${issue!.message}`)
})

/** @throws ShapingError for a shape that was written by SQL and is not valid */
export function readStoredShape(shape: object): Shape {
  return read(JSON.stringify(shape))
}
