// `field_mapping`: builds a new document from values of another.
import { EACH, type Step } from '../document/paths.ts'
import { setKey } from '../document/tree.ts'
import { isObject, type Json } from '../formats/document.ts'
import { findAt, stepsOf } from './paths.ts'
import { ShapingError } from './shaping-error.ts'

export type FieldSource =
  | string
  | { path: string; required?: boolean | undefined; default?: unknown }
  | { value: unknown }

/** A longer list is a mistake: `[999999999]` would make a list of nulls. */
export const MAX_POSITION = 10_000

/** @throws ShapingError for a required field that is missing, and for a target that has another value already */
export function mapped(document: Json, mapping: Record<string, FieldSource>): Json {
  const made = new Making()
  for (const [target, source] of Object.entries(mapping)) {
    const to = stepsOf(target)
    if (typeof source === 'object' && 'value' in source) {
      made.put(to, [], source.value as Json, target)
      continue
    }
    const { path, required, default: instead } = typeof source === 'string' ? { path: source } : source
    const from = stepsOf(path)
    const found = [...findAt(document, from)]
    if (found.length === 0) {
      const list = from.includes(EACH) && [...findAt(document, from.slice(0, from.indexOf(EACH)))].some(isEmptyList)
      if (required && !list) throw new ShapingError('field_mapping', `there is no value at ${path}`, target)
      if (instead !== undefined) made.put(to, [], instead as Json, target)
      else if (list) made.put(to.includes(EACH) ? to.slice(0, to.indexOf(EACH)) : to, [], [], target)
      continue
    }
    // A target without [*] gets all values as one list.
    if (from.includes(EACH) && !to.includes(EACH)) {
      made.put(
        to,
        [],
        found.map(({ value }) => value),
        target,
      )
    } else for (const { value, positions } of found) made.put(to, positions, value, target)
  }
  return made.document ?? {}
}

function isEmptyList({ value }: { value: Json }): boolean {
  return Array.isArray(value) && value.length === 0
}

class Making {
  document: Json | undefined
  /** Objects that were created here and may be changed; all others belong to the payload or to the configuration. */
  readonly own = new WeakSet<object>()

  put(steps: readonly Step[], positions: readonly number[], value: Json, target: string): void {
    const left = [...positions]
    // There are never more positions than the target has [*]: both have as many, or the target has none.
    const at = steps.map((step) => (step === EACH ? (left.shift() ?? 0) : step))
    this.document = this.into(this.document, at, value, target)
  }

  private into(present: Json | undefined, steps: readonly (string | number)[], value: Json, target: string): Json {
    const [step, ...rest] = steps
    if (step === undefined) return value
    const container = this.owned(present ?? (typeof step === 'number' ? [] : {}))
    if (typeof step === 'number' && Array.isArray(container)) {
      // Positions without a value become null: JSON has no holes.
      while (container.length < step) container.push(null)
      container[step] = this.into(container[step] ?? undefined, rest, value, target)
    } else if (typeof step === 'string' && isObject(container)) {
      const inner = Object.hasOwn(container, step) ? container[step] : undefined
      setKey(container, step, this.into(inner, rest, value, target))
    } else {
      throw new ShapingError('field_mapping', 'another field has set this path', target)
    }
    return container
  }

  private owned(container: Json): Json {
    if (typeof container !== 'object' || container === null || this.own.has(container)) return container
    if (!Array.isArray(container) && !isObject(container)) return container
    const copy = Array.isArray(container) ? [...container] : copyOf(container)
    this.own.add(copy)
    return copy
  }
}

function copyOf(container: { [key: string]: Json }): { [key: string]: Json } {
  const copy: { [key: string]: Json } = {}
  for (const [key, child] of Object.entries(container)) setKey(copy, key, child)
  return copy
}
