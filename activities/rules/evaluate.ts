// Evaluates conditions. A test that is not tried because of its cost is undecided: neither the test nor its `not` holds.
import type { Condition, Leaf } from './conditions.ts'
import { Digits, type Exact } from './exact.ts'
import { type Answer, spend, TOO_MUCH, type Work } from './operators.ts'
import { type Facts, follow, pathOfElement, someElement } from './paths.ts'

/**
 * The tests and the result. Conditions that needed no test are left out. `undecided`: a test that could decide was not tried;
 * neither the condition nor its `not` matches.
 */
export type Outcome = {
  matched: boolean
  undecided?: true
} /** `elements`: the length of a list if no element matches; `at`: the path of the element that matches. */ & (
  | { kind: 'leaf'; leaf: Leaf; actual: Exact | undefined; elements?: number; at?: string; note?: string }
  | { kind: 'all' | 'any' | 'not'; of: Outcome[] }
)

/** The cost of one list element. The number of tests is bounded by the size of the rules. */
const ELEMENT = 10

/** The cost after which other work may run: some two milliseconds. */
const YIELD_AFTER = 20_000

/** Tests in order and stops as soon as the result is known. Yields when other work may run. */
export function* evaluate(condition: Condition, facts: Facts, work: Work): Generator<void, Outcome> {
  if (condition.kind === 'leaf' && condition.path.root === 'payload' && facts.unread !== undefined) {
    const untried = `was not tried: the payload ${facts.unread}`
    return { kind: 'leaf', leaf: condition, actual: undefined, elements: 0, ...verdict({ untried }) }
  }
  if (condition.kind === 'leaf') {
    const before = work.left
    const outcome = condition.path.many ? yield* askEach(condition, facts, work) : ask(condition, facts, work)
    if (before - work.left > YIELD_AFTER) yield
    return outcome
  }
  const { kind } = condition
  const of: Outcome[] = []
  let undecided = false
  for (const one of condition.of) {
    const outcome = yield* evaluate(one, facts, work)
    of.push(outcome)
    if (outcome.undecided) undecided = true
    else if (kind === 'not') return { kind, matched: !outcome.matched, of }
    else if (outcome.matched === (kind === 'any')) return { kind, matched: outcome.matched, of }
  }
  return undecided ? { kind, matched: false, undecided, of } : { kind, matched: kind === 'all', of }
}

function ask(leaf: Leaf, facts: Facts, work: Work): Outcome {
  const actual = follow(leaf.path, facts, leaf.timeZone)
  const answer = isAffordable(actual, work) ? leaf.test(actual, work) : TOO_MUCH
  return { kind: 'leaf', leaf, actual, ...verdict(answer) }
}

/** Matches if one element matches; the result says which. */
function* askEach(leaf: Leaf, facts: Facts, work: Work): Generator<void, Outcome> {
  let elements = 0
  let actual: Exact | undefined
  let at: string | undefined
  let last: Answer = false
  let since = work.left
  const isDue = () => {
    if (since - work.left < YIELD_AFTER) return false
    since = work.left
    return true
  }
  const found = yield* someElement(leaf.path, facts, {
    spend: () => spend(work, ELEMENT),
    isDue,
    holds: (value, indexes) => {
      elements += 1
      actual = value
      last = isAffordable(value, work) ? leaf.test(value, work) : TOO_MUCH
      // An element that was not tried might match, so the walk ends undecided.
      const ends = last === true || isUntried(last)
      if (ends) at = pathOfElement(leaf.path, indexes)
      return ends
    },
  })
  if (found === undefined) return { kind: 'leaf', leaf, actual: undefined, ...verdict(TOO_MUCH) }
  if (found) return { kind: 'leaf', leaf, actual, ...(at ? { at } : {}), ...verdict(last) }
  const why = typeof last === 'string' ? `; the last one ${last}` : ''
  const note = elements === 0 ? 'there is no element' : `none of ${elements} elements${why}`
  return { kind: 'leaf', leaf, actual, elements, matched: false, note }
}

function isAffordable(actual: Exact | undefined, work: Work): boolean {
  return !(actual instanceof Digits) || actual.text.length < 100 || spend(work, actual.text.length / 8)
}

function isUntried(answer: Answer): answer is Exclude<Answer, boolean | string> {
  return typeof answer === 'object'
}

function verdict(answer: Answer): { matched: boolean; undecided?: true; note?: string } {
  if (typeof answer === 'boolean') return { matched: answer }
  if (typeof answer === 'string') return { matched: false, note: answer }
  return { matched: false, undecided: true, note: answer.untried }
}
