// JSON that a response contains exactly as it was sent or stored. Parsing and writing it again would lose digits.
import { randomUUID } from 'node:crypto'

/** Random, so that no text of a tenant contains it. */
const MARK = randomUUID()
const MARKED = new RegExp(`"${MARK}(\\d+)"`, 'g')

/** The texts of the value that is being serialised. Serialising is synchronous, so there is only one such value. */
let found: string[] = []

/** JSON text in place of a value in a response. */
export class JsonText {
  readonly text: string

  constructor(text: string) {
    this.text = text
  }

  toJSON(): string {
    return MARK + (found.push(this.text) - 1)
  }
}

/** Like `JSON.stringify`, but writes the text of every `JsonText` unchanged. */
export function stringify(value: unknown): string {
  found = []
  const text = JSON.stringify(value)
  const texts = found
  found = []
  return texts.length === 0 ? text : text.replace(MARKED, (_, index) => texts[Number(index)]!)
}
