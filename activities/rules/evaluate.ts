// Evaluates conditions. A test that was not tried because of its cost is undecided: neither it nor its `not` holds.
import type { Condition, Leaf } from './conditions.ts'
import { Digits, type Exact } from './exact.ts'
import { type Answer, spend, TOO_MUCH, type Work } from './operators.ts'
import { type Facts, follow, pathOfElement, someElement } from './paths.ts'

/**
 * What was tested, and the result. Conditions that did not need a test are left out. `undecided`: a test that matters was not
 * tried; the condition does not match, and neither does its `not`.
 */
export type Outcome = {
  matched: boolean
  undecided?: true
} /** `elements`: of a list, of which none holds; `at` is the one that does. */ & (
  | { kind: 'leaf'; leaf: Leaf; actual: Exact | undefined; elements?: number; at?: string; note?: string }
  | { kind: 'all' | 'any' | 'not'; of: Outcome[] }
)

/** The cost of one list element. The number of tests is bounded by the size of the rules. */
const ELEMENT = 10

/** Other work gets the event loop after this much: some two milliseconds. */
const TURN = 20_000

/** Tests in order and stops as soon as the result is known. Yields where other work may run. */
export function* evaluate(condition: Condition, facts: Facts, work: Work): Generator<void, Outcome> {
  if (condition.kind === 'leaf' && condition.path.root === 'payload' && facts.unread !== undefined) {
    const untried = `was not tried: the payload ${facts.unread}`
    return { kind: 'leaf', leaf: condition, actual: undefined, elements: 0, ...verdict({ untried }) }
  }
  if (condition.kind === 'leaf') {
    const before = work.left
    const outcome = condition.path.many ? yield* askEach(condition, facts, work) : ask(condition, facts, work)
    if (before - work.left > TURN) yield
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

/** Holds when it holds for one element; the result says for which. */
function* askEach(leaf: Leaf, facts: Facts, work: Work): Generator<void, Outcome> {
  let elements = 0
  let actual: Exact | undefined
  let at: string | undefined
  let last: Answer = false
  let since = work.left
  const isDue = () => {
    if (since - work.left < TURN) return false
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
      // The element that was not tried may be the one that holds.
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
