// Where in a request something is, as errors name it.

/** A longer path is cut in its middle. */
const MAX_PATH = 1000

/** `['destinations', 0, 'endpoint']` as `destinations[0].endpoint`; strange keys in quotes, an empty path as `body`. */
export function fieldPath(path: readonly PropertyKey[]): string {
  let text = ''
  for (const step of path) {
    if (typeof step === 'number') text += `[${step}]`
    else if (/^[\w-]{1,100}$/.test(String(step))) text += text === '' ? String(step) : `.${String(step)}`
    else text += `[${JSON.stringify(String(step).slice(0, 100))}]`
  }
  if (text.length > MAX_PATH) return `${text.slice(0, MAX_PATH / 2)}…${text.slice(-MAX_PATH / 2)}`
  return text === '' ? 'body' : text
}
