// What a process and its shaping processes say to each other.
import type { Problem } from './json-schema.ts'
import type { ShapingWords } from './shape.ts'
import type { ShapingStep } from './shaping-error.ts'

export type Task =
  /** Shapes as JSON, as they are stored. */
  | { kind: 'shape'; shapes: string[]; payload: Uint8Array; words: ShapingWords }
  /** A JSON Schema, and a document to be checked against it. */
  | { kind: 'check'; schema: string; document: Uint8Array }
  /** A JSON Schema that is to be kept. */
  | { kind: 'judge'; schema: string }
  /** The costly parts of a shape that is to be kept, as JSON. */
  | { kind: 'judge_shape'; parts: string }

export type Order = Task & { id: number }

export type Outcome =
  | { kind: 'shaped'; id: number; body: Uint8Array; content_type: string }
  | { kind: 'checked'; id: number; problems: Problem[] }
  /** Final: the same would happen again. `where` counts the shapes from 0. */
  | { kind: 'refused'; id: number; step: ShapingStep; message: string }
  | { kind: 'broken'; id: number; error: string }

/** `used_ms`: of the processor, however long it took on a busy machine. */
export type Report = { kind: 'ready' } | { kind: 'done'; outcome: Outcome; used_ms: number }
