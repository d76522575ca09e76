// JSON that goes out exactly as it was sent or stored: parsed and written again, its numbers would lose digits.
import { randomUUID } from 'node:crypto'

/** No text of a tenant can hold it. */
const MARK = randomUUID()
const MARKED = new RegExp(`"${MARK}(\\d+)"`, 'g')

/** The texts of the value that is being written. Writing is one synchronous call, so there is only one such value. */
let found: string[] = []

/** JSON text that stands for a value in an answer. */
export class JsonText {
  readonly text: string

  constructor(text: string) {
    this.text = text
  }

  toJSON(): string {
    return MARK + (found.push(this.text) - 1)
  }
}

/** Like `JSON.stringify`, with every `JsonText` as it stands. */
export function stringify(value: unknown): string {
  found = []
  const text = JSON.stringify(value)
  const texts = found
  found = []
  return texts.length === 0 ? text : text.replace(MARKED, (_, index) => texts[Number(index)]!)
}
