// An error of shaping, with the step and the path, but without values of the payload.

export type ShapingStep =
  | 'include'
  | 'exclude'
  | 'mask'
  | 'field_mapping'
  | 'expression'
  | 'output_schema'
  | 'output'
  /** All steps together: too large, too long, too much memory. */
  | 'limits'

export class ShapingError extends Error {
  readonly step: ShapingStep

  /** @param path in the configuration or in the document */
  constructor(step: ShapingStep, message: string, path?: string) {
    super(path === undefined ? message : `${path}: ${message}`)
    this.step = step
  }
}
