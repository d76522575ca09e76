// The messages between a process and its shaping processes.
import type { Shape } from './config.ts'
import type { Problem } from './json-schema.ts'
import type { ShapingWords } from './shape.ts'
import type { ShapingStep } from './shaping-error.ts'

export type Task =
  | { kind: 'shape'; shapes: readonly Shape[]; payload: Uint8Array; words: ShapingWords; warns: boolean }
  /** A JSON Schema, and a document to be checked against it. */
  | { kind: 'check'; schema: string; document: Uint8Array }
  /** A JSON Schema that is to be stored. */
  | { kind: 'check_schema'; schema: string }
  /** The costly parts of a shape that is to be stored, as JSON. */
  | { kind: 'check_shape'; parts: string }

/** `limitMs`: the processor time that it may use. */
export type Order = Task & { tenantId: string; limitMs: number }

export type Outcome =
  | { kind: 'shaped'; body: Uint8Array; content_type: string; warnings?: string[] }
  | { kind: 'checked'; problems: Problem[] }
  /** Permanent: the same would happen again. */
  | { kind: 'refused'; step: ShapingStep; message: string }
  | { kind: 'broken'; error: string }

export interface Done {
  kind: 'done'
  outcome: Outcome
  /** Processor time, not the time by the clock. */
  used_ms: number
  /** Memory of the process afterwards. */
  held_bytes: number
  /** An expression that changes objects ran in it: it must not serve another tenant. */
  bound: boolean
}

export type Report = { kind: 'ready' } | Done
