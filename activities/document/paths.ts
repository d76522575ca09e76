// Paths into JSON, as people write them: `customer.id`, `rows[0].fee`, `rows[*].fee`, `["odd.key"].x`. Each use allows only
// some of these forms (PathGrammar); all of them are parsed and written here.

export const EACH = Symbol('each element')
export type Step = string | number | typeof EACH

export interface PathGrammar {
  /** Characters that a key without quotes may not have, as in a character class. */
  notInKey: string
  /** `[*]` is allowed. */
  each?: boolean
  /** `["odd.key"]` is allowed. */
  quoted?: boolean
  /** `[0]` becomes the key `"0"`, which also finds the element of an array. */
  positionsAreKeys?: boolean
}

/** The steps from character `from`, or the position of the first character that cannot be read. */
export type PathParser = (text: string, from?: number) => Step[] | { at: number }

export function createPathParser(grammar: PathGrammar): PathParser {
  const { notInKey, each, quoted, positionsAreKeys } = grammar
  const forms = [
    `(?:^|\\.)(?<key>[^${notInKey}]+)`,
    `\\[(?<position>\\d${positionsAreKeys ? '+' : '{1,9}'})\\]`,
    ...(each ? ['\\[(?<each>\\*)\\]'] : []),
    ...(quoted ? ['\\[(?<quoted>"(?:[^"\\\\]|\\\\.)*")\\]'] : []),
  ]
  const step = new RegExp(forms.join('|'), 'y')

  return (text, from = 0) => {
    const steps: Step[] = []
    step.lastIndex = from
    for (let at = from; at < text.length; at = step.lastIndex) {
      const form = step.exec(text)?.groups
      if (!form) return { at }
      if (form.key !== undefined) steps.push(form.key)
      else if (form.position !== undefined) steps.push(positionsAreKeys ? form.position : Number(form.position))
      else if (form.each !== undefined) steps.push(EACH)
      else {
        const key = unquote(form.quoted!)
        if (key === undefined) return { at }
        steps.push(key)
      }
    }
    return steps
  }
}

function unquote(text: string): string | undefined {
  try {
    return JSON.parse(text) as string
  } catch {
    return undefined
  }
}

const MAX_KEY = 100
/** A longer path is cut in its middle. */
const MAX_PATH = 1000

/** `['destinations', 0, 'endpoint']` as `destinations[0].endpoint`; odd keys in quotes, and long ones cut. */
export function pathText(path: readonly PropertyKey[]): string {
  let text = ''
  for (const step of path) {
    if (step === EACH) text += '[*]'
    else if (typeof step === 'number') text += `[${step}]`
    else {
      const key = String(step)
      if (!/^[\w-]{1,100}$/.test(key)) text += `[${JSON.stringify(key.slice(0, MAX_KEY))}]`
      else text += text === '' ? key : `.${key}`
    }
  }
  return text.length > MAX_PATH ? `${text.slice(0, MAX_PATH / 2)}…${text.slice(-MAX_PATH / 2)}` : text
}
