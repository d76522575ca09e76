// Gives payloads to a few shaping processes and bounds their cost: a process that takes too long or too much memory is killed
// and replaced. Threads are not enough: a thread that runs out of memory ends the whole process.
import { LIMITS } from '../../db/limits.ts'
import { costlyParts } from './costly-parts.ts'
import type { Problem } from './json-schema.ts'
import type { Outcome, Task } from './messages.ts'
import { createPool } from './pool.ts'
import type { Shaped, ShapingWords } from './shape.ts'
import { ShapingError } from './shaping-error.ts'
import { readStoredShape } from './stored-shape.ts'

export interface Shaper {
  /**
   * @param shapes configurations as they are stored, in the order in which they are applied
   * @param signal ends the waiting with its reason
   * @param options `warns` also returns possible surprises, for a dry run of a shape
   * @throws ShapingError if the shape or the payload is the cause; any other error is the fault of the service or the machine
   */
  shape(
    tenantId: string,
    shapes: readonly object[],
    payload: Buffer,
    words: ShapingWords,
    signal?: AbortSignal,
    options?: { warns?: boolean },
  ): Promise<Shaped>
  /**
   * The problems of a document (JSON), with their paths.
   * @param schema as an object or as JSON text, which keeps the digits of numbers
   * @throws ShapingError if the check exceeds the limits
   */
  check(tenantId: string, schema: object | boolean | string, document: Buffer, signal?: AbortSignal): Promise<Problem[]>
  /** The problems of a schema, with their paths. @throws ShapingError if the check exceeds the limits */
  checkSchema(tenantId: string, schema: object | boolean | string, signal?: AbortSignal): Promise<Problem[]>
  /** The problems of a shape's expression and schema, with their paths. @throws ShapingError if the check exceeds the limits */
  checkShape(tenantId: string, shape: unknown, signal?: AbortSignal): Promise<Problem[]>
  /** Ends the processes; unfinished work fails. */
  close(): void
}

export interface ShaperOptions {
  /** Processes that work at once; they are started when they are needed. */
  processes?: number
  /** Processes at once, including those that wait for their tenant's next payload. */
  kept?: number
  /** Processor time for one payload, in milliseconds. */
  timeoutMs?: number
  /** Processor time to check one payload against a schema, in milliseconds. */
  checkMs?: number
  /** Memory of each process, in MiB. */
  memoryMb?: number
  /** Time without any use of the processor, in milliseconds. */
  idleMs?: number
  /** Time without a heartbeat, in milliseconds. */
  silentMs?: number
}

/** Time by the clock may exceed the processor time by this much. */
const WALL_BEYOND_MS = LIMITS.shapingWall.value - LIMITS.shapingTime.value

export function createShaper({
  processes = LIMITS.shapingAtOnce.value,
  kept = LIMITS.shapingKept.value,
  timeoutMs = LIMITS.shapingTime.value,
  checkMs = Math.min(timeoutMs, LIMITS.checkTime.value),
  memoryMb = LIMITS.shapingMemory.value,
  idleMs = LIMITS.shapingIdle.value,
  silentMs = LIMITS.shapingSilence.value,
}: ShaperOptions = {}): Shaper {
  const wallMs = timeoutMs + WALL_BEYOND_MS
  const pool = createPool({ slots: processes, kept, limitMs: timeoutMs, checkMs, idleMs, wallMs, silentMs, memoryMb })

  async function settle(tenantId: string, task: Task, signal: AbortSignal | undefined): Promise<Outcome> {
    const outcome = await pool.run(tenantId, task, signal)
    if (outcome.kind === 'refused') throw new ShapingError(outcome.step, outcome.message)
    if (outcome.kind === 'broken') throw new Error(outcome.error)
    return outcome
  }

  async function problems(tenantId: string, task: Task, signal: AbortSignal | undefined): Promise<Problem[]> {
    const outcome = await settle(tenantId, task, signal)
    if (outcome.kind !== 'checked') throw new Error('the shaping process sent a result of another kind')
    return outcome.problems
  }

  return {
    async shape(tenantId, shapes, payload, words, signal, { warns = false } = {}) {
      const read = shapes.map(readStoredShape)
      const outcome = await settle(tenantId, { kind: 'shape', shapes: read, payload, words, warns }, signal)
      if (outcome.kind !== 'shaped') throw new Error('the shaping process sent a result of another kind')
      const { body, content_type, warnings } = outcome
      const bytes = Buffer.from(body.buffer, body.byteOffset, body.byteLength)
      return { body: bytes, content_type, ...(warnings && { warnings }) }
    },
    check(tenantId, schema, document, signal) {
      return problems(tenantId, { kind: 'check', schema: jsonOf(schema), document }, signal)
    },
    checkSchema(tenantId, schema, signal) {
      return problems(tenantId, { kind: 'check_schema', schema: jsonOf(schema) }, signal)
    },
    async checkShape(tenantId, shape, signal) {
      const parts = costlyParts(shape)
      if (!parts) return []
      return await problems(tenantId, { kind: 'check_shape', parts: JSON.stringify(parts) }, signal)
    },
    close: () => pool.close(),
  }
}

function jsonOf(schema: object | boolean | string): string {
  return typeof schema === 'string' ? schema : JSON.stringify(schema)
}
