// Realms in which expressions run, each with its own globals and its own copy of the library. An expression with the update
// operator can reach and change every object of the library, so it gets a fresh realm for each evaluation. Other expressions
// change only the objects that they create; they share one realm per tenant, whose code is already optimised (eight times as
// fast for a document of 3,000 rows). Only text goes in and comes out, because an object would give access to the constructors
// of its side.
import vm from 'node:vm'

/** The result of a call in a realm. */
export interface Answer {
  /** For `judge`: why the expression is not allowed; null if it is allowed. */
  refused?: string | null
  /** For `judge`: a syntax error. */
  syntax?: Fault
  /** The result as JSON. */
  result?: string
  nothing?: true
  /** It has the update operator, and was not evaluated. */
  updates?: true
  failed?: Fault
  /** For `singles`: the paths. */
  singles?: string[]
  /** The evaluation waits for something that cannot happen. */
  stuck?: true
}

export interface Fault {
  code?: unknown
  position?: unknown
  token?: unknown
  deep?: unknown
  refused?: unknown
  function?: unknown
  number?: unknown
}

/** The source of inside.ts and its library, as one script; bundle.ts inserts it. */
declare const REALM_SOURCE: string

let library: vm.Script | undefined
/** For expressions without the update operator. */
let shared: vm.Context | undefined
let updated = false

/** Call it before an evaluation for another tenant. */
export function forgetRealm(): void {
  shared = undefined
}

/** Whether an expression with the update operator was ever evaluated in this process. */
export function hasUpdated(): boolean {
  return updated
}

export function judgedInRealm(expression: string): Answer {
  return inRealm(sharedRealm(), 'judge()', { expression })
}

/**
 * @param document as JSON
 * @param words as JSON
 * @param changed as JSON: the doubles in `document` whose original whole numbers have other digits; empty if there are none
 */
export function evaluatedInRealm(expression: string, document: string, words: string, changed = ''): Answer {
  const texts = { expression, document, words, changed }
  const answer = inRealm(sharedRealm(), 'evaluate(false)', texts)
  if (!answer.updates) return answer
  updated = true
  return inRealm(freshRealm(), 'evaluate(true)', texts)
}

/** The paths of an expression that was evaluated at which a list of one became a single value. */
export function singlesInRealm(expression: string, document: string, words: string): string[] {
  return inRealm(freshRealm(), 'singles()', { expression, document, words }).singles ?? []
}

function sharedRealm(): vm.Context {
  shared ??= freshRealm()
  return shared
}

function freshRealm(): vm.Context {
  library ??= new vm.Script(REALM_SOURCE, { filename: 'realm.js' })
  const realm = vm.createContext(vm.constants.DONT_CONTEXTIFY, {
    // A microtask queue of its own, which is empty when the call returns. A realm has no timers and no files, so an evaluation
    // without a result by then never gets one.
    microtaskMode: 'afterEvaluate',
    codeGeneration: { strings: false, wasm: false },
  })
  library.runInContext(realm)
  return realm
}

function inRealm(realm: vm.Context, call: string, texts: Record<string, string>): Answer {
  let answer: unknown
  try {
    Object.assign(realm, { document: '', words: '', changed: '', ...texts, answer: '' })
    vm.runInContext(call, realm)
    answer = vm.runInContext('answer', realm)
    Object.assign(realm, { document: '', changed: '', answer: '' })
  } catch {
    // The error is an object of the realm, and must not be touched.
    return { failed: {} }
  }
  if (typeof answer !== 'string') return { failed: {} }
  return answer === '' ? { stuck: true } : (JSON.parse(answer) as Answer)
}
