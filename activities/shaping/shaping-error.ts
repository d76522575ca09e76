// What went wrong while a document was shaped: the step and the path, never a value.

export type ShapingStep =
  | 'include'
  | 'exclude'
  | 'mask'
  | 'field_mapping'
  | 'expression'
  | 'output_schema'
  | 'output'
  /** The whole: too large, too long, too much memory. */
  | 'limits'

export class ShapingError extends Error {
  readonly step: ShapingStep

  /** @param path in the configuration or in the document */
  constructor(step: ShapingStep, message: string, path?: string) {
    super(path === undefined ? message : `${path}: ${message}`)
    this.step = step
  }
}
