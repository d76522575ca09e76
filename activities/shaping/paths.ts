// Paths in a shape: `customer.id`, `rows[0].fee`, `rows[*].fee`, `["odd.key"].x`; `$` is the whole document.
import { createPathParser, EACH, type Step } from '../document/paths.ts'
import { childAt, setKey } from '../document/tree.ts'
import { isObject, type Json } from '../formats/document.ts'

const parse = createPathParser({ notInKey: '.[\\]"*{}', each: true, quoted: true })
export const MAX_STEPS = 50

/** The steps of a path, or its problem. */
export function readPath(text: string): Step[] | { problem: string } {
  if (text === '$') return []
  if (/^payload(?:$|[.[])/.test(text)) {
    const inside = text.slice('payload'.length).replace(/^\./, '') || '$'
    return { problem: `begins inside of the payload: write ${inside}, or ["payload"] for a key of that name` }
  }
  const steps = parse(text, /^\$[.[]/.test(text) ? 1 : 0)
  if (!Array.isArray(steps)) {
    return {
      problem: `cannot be read from character ${steps.at + 1} on; write customer.id, rows[*].fee or ["odd.key"]`,
    }
  }
  if (steps.length === 0) return { problem: 'is empty' }
  if (steps.length > MAX_STEPS) return { problem: `has more than ${MAX_STEPS} steps` }
  return steps
}

/** The steps of a path that was checked when it was stored. */
export function stepsOf(text: string): Step[] {
  const steps = readPath(text)
  if (Array.isArray(steps)) return steps
  throw new Error('an unreadable path was stored')
}

/** Paths as a tree, so that one walk is enough for all of them. */
export interface Branches<T> {
  /** Set where a path ends. */
  end?: T
  keys: Map<string | number, Branches<T>>
  each?: Branches<T>
}

export function branchesOf<T>(paths: readonly (readonly [path: string, end: T])[]): Branches<T> {
  const root: Branches<T> = { keys: new Map() }
  for (const [path, end] of paths) {
    let at = root
    for (const step of stepsOf(path)) {
      let next = step === EACH ? at.each : at.keys.get(step)
      if (!next) {
        next = { keys: new Map() }
        if (step === EACH) at.each = next
        else at.keys.set(step, next)
      }
      at = next
    }
    at.end = end
  }
  return root
}

/**
 * The branches for each element of a list. A name below a list means that name in each element, so that a forgotten `[*]` does
 * not leave a value that should be removed.
 */
function toElements<T>(branches: Branches<T>[]): (index: number) => Branches<T>[] {
  const all = branches.flatMap(({ keys, each }) => {
    const names = [...keys].filter(([key]) => typeof key === 'string')
    return [...(each ? [each] : []), ...(names.length > 0 ? [{ keys: new Map(names) }] : [])]
  })
  return (index) => {
    const own = toKey(branches, index)
    return own.length > 0 ? [...own, ...all] : all
  }
}

function toKey<T>(branches: Branches<T>[], key: string | number): Branches<T>[] {
  const found: Branches<T>[] = []
  for (const { keys } of branches) {
    const next = keys.get(key)
    if (next) found.push(next)
  }
  return found
}

/** Replaces the values at the paths by the result of `change`; undefined removes them. Nothing is copied twice. */
export function changeAt<T>(
  value: Json,
  roots: Branches<T>[],
  change: (value: Json, end: T) => Json | undefined,
): Json {
  return walk(value, roots) ?? null

  function walk(value: Json, branches: Branches<T>[]): Json | undefined {
    for (const branch of branches) if (branch.end !== undefined) return change(value, branch.end)
    if (Array.isArray(value)) {
      const toElement = toElements(branches)
      return value.flatMap((item, index) => {
        const inner = toElement(index)
        const changed = inner.length > 0 ? walk(item, inner) : item
        return changed === undefined ? [] : [changed]
      })
    }
    if (!isObject(value)) return value
    const copy: { [key: string]: Json } = {}
    for (const [key, child] of Object.entries(value)) {
      const inner = toKey(branches, key)
      const changed = inner.length > 0 ? walk(child, inner) : child
      if (changed !== undefined) setKey(copy, key, changed)
    }
    return copy
  }
}

/** Keeps only the values at the paths, in their places; list elements that become empty are removed. */
export function keepAt(value: Json, branches: Branches<true>[]): Json | undefined {
  if (branches.some((branch) => branch.end)) return value
  if (Array.isArray(value)) {
    const toElement = toElements(branches)
    const kept = value.flatMap((item, index) => {
      const inner = toElement(index)
      const left = inner.length > 0 ? keepAt(item, inner) : undefined
      return left === undefined ? [] : [left]
    })
    return kept.length > 0 || value.length === 0 ? kept : undefined
  }
  if (!isObject(value)) return undefined
  const kept: { [key: string]: Json } = {}
  let some = false
  for (const [key, child] of Object.entries(value)) {
    const inner = toKey(branches, key)
    const left = inner.length > 0 ? keepAt(child, inner) : undefined
    if (left === undefined) continue
    setKey(kept, key, left)
    some = true
  }
  return some ? kept : undefined
}

/** The values at a path, with the list positions of its `[*]`. */
export function* findAt(
  value: Json,
  steps: readonly Step[],
  positions: readonly number[] = [],
): Generator<{ value: Json; positions: readonly number[] }> {
  const [step, ...rest] = steps
  if (step === undefined) yield { value, positions }
  else if (step === EACH) {
    if (!Array.isArray(value)) return
    for (const [index, item] of value.entries()) yield* findAt(item, rest, [...positions, index])
  } else {
    const child = childAt(value, step)
    if (child !== undefined) yield* findAt(child, rest, positions)
  }
}
