// The script inside of a realm, which contains only JSONata. JSONata is not a sandbox: with the update operator, an expression
// reaches the library's own objects. Only text goes in and comes out (realm.ts).

import jsonata from 'jsonata'
import { watchArithmetic } from './arithmetic.ts'
import { nodesOf, REFUSED, refusal, updates } from './refusals.ts'
import { watchSingles } from './singles.ts'

/** Nested evaluations; each level of a user-defined function takes some four. */
const MAX_DEPTH = 1000
const MAX_SEQUENCE = 5_000_000

/** The names of the library's functions, found in its source when this is bundled (bundle.ts). */
declare const BUILT_INS: string[]

/** A built-in function of the library. */
interface Definition {
  implementation: unknown
  signature?: unknown
}

/** The place of the call, for messages. */
interface Called {
  token: unknown
  position: unknown
}

/** The globals by which realm.ts passes texts in and out. */
interface Surface {
  expression: string
  /** JSON; numbers beyond a double's range are written as 1e999. */
  document: string
  /** JSON: the value of `$distribution`, and when the distribution was accepted. */
  words: string
  /** JSON: the doubles whose original whole numbers have other digits. Empty if there are none. */
  changed: string
  /** JSON: see `Answer` in realm.ts. Empty until there is a result. */
  answer: string
  judge(): void
  /** @param anything whether the expression may change objects */
  evaluate(anything: boolean): void
  /** Finds where a list becomes a single value. The realm must not be used for anything else. */
  singles(): void
}

type Expression = ReturnType<typeof jsonata>

/** Compiled expressions that are cached. A plain map, because this script is loaded into every new realm. */
const COMPILED = 50
const compiled = new Map<string, { expression: Expression; updates: boolean }>()
let builtIns: Record<string, unknown> | undefined

/** The library calls the function that is bound to this name after each value. */
const AFTER_EACH_VALUE = Symbol.for('jsonata.__evaluate_exit') as unknown as string

const surface = globalThis as unknown as Surface
const { parse, stringify } = JSON

surface.answer = ''

surface.judge = () => {
  try {
    const refused = refusal(jsonata(surface.expression).ast(), new Set(BUILT_INS))
    surface.answer = stringify({ refused: refused ?? null })
  } catch (error) {
    surface.answer = stringify({ syntax: fault(error) })
  }
}

surface.evaluate = (anything) => {
  let expression: Expression
  try {
    const found = compile(surface.expression)
    if (found.updates && !anything) {
      surface.answer = stringify({ updates: true })
      return
    }
    expression = found.expression
    expression.assign(AFTER_EACH_VALUE, guard(expression))
  } catch (error) {
    surface.answer = stringify({ failed: fault(error) })
    return
  }
  void evaluated(expression).then(
    (result) => {
      try {
        surface.answer = stringify(result === undefined ? { nothing: true } : { result: written(result) })
      } catch (error) {
        surface.answer = stringify({ failed: fault(error) })
      }
    },
    (error) => {
      surface.answer = stringify({ failed: fault(error) })
    },
  )
}

surface.singles = () => {
  const { expression } = compile(surface.expression)
  const ast = expression.ast()
  const { afterValue, found } = watchSingles(ast, nodesOf(ast))
  expression.assign(AFTER_EACH_VALUE, afterValue)
  const answer = () => {
    surface.answer = stringify({ singles: [...found] })
  }
  void evaluated(expression).then(answer, answer)
}

function compile(text: string) {
  const known = compiled.get(text)
  if (known) return known
  const expression = jsonata(text, { stack: MAX_DEPTH, sequence: MAX_SEQUENCE })
  const refused = refusal(expression.ast(), new Set(BUILT_INS))
  // An expression that was written by SQL was not checked.
  if (refused !== undefined) throw { refused }
  const made = { expression, updates: updates(expression.ast()) }
  if (compiled.size >= COMPILED) compiled.delete(compiled.keys().next().value!)
  compiled.set(text, made)
  return made
}

/** Undefined for most payloads, which have no such number. */
function guard(expression: Expression): unknown {
  if (surface.changed === '') return undefined
  return watchArithmetic(nodesOf(expression.ast()), new Set(parse(surface.changed) as number[]))
}

async function evaluated(expression: Expression): Promise<unknown> {
  const { accepted_at, distribution } = parse(surface.words) as { accepted_at: number; distribution: object }
  builtIns ??= await sealedBuiltIns()
  const bindings: Record<string, unknown> = {
    ...builtIns,
    distribution,
    now: nowAt(accepted_at, builtIns),
    millis: () => accepted_at,
  }
  for (const name of REFUSED) bindings[name] = undefined
  return await expression.evaluate(parse(surface.document), bindings)
}

function nowAt(time: number, builtIns: object) {
  return (picture?: string, zone?: string) =>
    picture === undefined && zone === undefined
      ? new Date(time).toISOString()
      : jsonata('$fromMillis($at, $picture, $zone)').evaluate(null, { ...builtIns, at: time, picture, zone })
}

/**
 * The built-in functions, frozen so that no expression can replace or remove them. The library writes the place of each call
 * into the function: only these fields stay writable, on an object that inherits from the frozen one.
 */
async function sealedBuiltIns(): Promise<Record<string, unknown>> {
  const sealed: Record<string, unknown> = {}
  const taker = jsonata('$take()')
  taker.registerFunction('take', function (this: { environment: { lookup(name: string): Definition } }) {
    for (const name of BUILT_INS) {
      const definition = this.environment.lookup(name)
      Object.freeze(definition.implementation)
      if (definition.signature) Object.freeze(definition.signature)
      const callable = Object.create(Object.freeze(definition)) as Called
      callable.token = undefined
      callable.position = undefined
      sealed[name] = Object.preventExtensions(callable)
    }
    return true
  })
  await taker.evaluate(null)
  return sealed
}

/** The result as JSON. @throws objects that `fault` understands */
function written(value: unknown): string {
  switch (typeof value) {
    case 'number':
      if (Number.isNaN(value)) throw { number: true }
      if (Number.isFinite(value)) return String(value)
      return value > 0 ? '1e999' : '-1e999'
    case 'string':
    case 'boolean':
      return stringify(value)
    case 'undefined':
      return 'null'
    case 'object': {
      if (value === null) return 'null'
      if ('_jsonata_function' in value || '_jsonata_lambda' in value) throw { function: true }
      if (Array.isArray(value)) return `[${Array.from(value, written).join(',')}]`
      const fields: string[] = []
      for (const [key, child] of Object.entries(value)) {
        if (child !== undefined) fields.push(`${stringify(key)}:${written(child)}`)
      }
      return `{${fields.join(',')}}`
    }
    default:
      throw { function: true }
  }
}

/** The part of an error that may leave the realm: never a message of the library, which quotes values. */
function fault(error: unknown): object {
  if (error instanceof RangeError) return { deep: true }
  const { code, position, token, refused, function: isFunction, number } = (error ?? {}) as Record<string, unknown>
  return { code, position, token, refused, function: isFunction, number }
}
