// Reads single values out of a payload without parsing the whole of it, and with every digit of its numbers.
import { visit } from 'jsonc-parser'

/**
 * Text, numbers and booleans at the given paths (`payload.customer.id`, `payload.items[0].id`); what is missing, null,
 * an object or an array is not in the answer. Numbers are the digits that were sent: a 64-bit integer loses none, and
 * `1.0` stays `1.0`. Of a key that occurs twice the last one counts, as for PostgreSQL's jsonb.
 */
export function readPayload(body: Buffer, paths: readonly string[]): Map<string, string> {
  const wanted = new Map(paths.map((path) => [keyOf(segments(path)), path]))
  const open = new Set<string>()
  for (const path of paths) {
    const all = segments(path)
    for (let length = 0; length < all.length; length++) open.add(keyOf(all.slice(0, length)))
  }
  const text = body.toString('utf8')
  const found = new Map<string, string>()

  /** Something new stands at this place: whatever was found there or below it before no longer counts. */
  function replaceAt(key: string): void {
    for (const [at, path] of wanted) if (at === key || at.startsWith(`${key}\u0000`)) found.delete(path)
  }

  function enter(path: readonly (string | number)[]): boolean {
    const key = keyOf(path)
    const follow = open.has(key) || wanted.has(key)
    if (follow && key !== '') replaceAt(key)
    return follow
  }

  visit(text, {
    onObjectBegin: (_offset, _length, _line, _character, path) => enter(path()),
    // Without the two ends, jsonc-parser never leaves an object or array that was not followed.
    onObjectEnd: () => {},
    onArrayEnd: () => {},
    onArrayBegin: (_offset, _length, _line, _character, path) => enter(path()),
    onLiteralValue: (value, offset, length, _line, _character, path) => {
      const key = keyOf(path())
      if (open.has(key)) replaceAt(key)
      const name = wanted.get(key)
      if (name === undefined) return
      if (value === null) found.delete(name)
      else found.set(name, typeof value === 'number' ? text.slice(offset, offset + length) : String(value))
    },
  })
  return found
}

/** `payload.items[0].id` → `items`, `0`, `id`; a number also finds the element of an array. */
function segments(path: string): string[] {
  return path
    .replace(/\[(\d+)\]/g, '.$1')
    .split('.')
    .slice(1)
}

function keyOf(path: readonly (string | number)[]): string {
  return path.join('\u0000')
}
