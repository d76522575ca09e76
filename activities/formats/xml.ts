// A document as XML 1.0: an element for each key, `item` for each element of a list.
import { XMLBuilder } from 'fast-xml-parser'
import { isObject, type Json, textOf } from './document.ts'

const NAME = /^(?!xml)[A-Za-z_][A-Za-z0-9._-]*$/i
/** XML 1.0, 2.2: everything else may not stand in a document, not even as a reference. */
const FORBIDDEN = /[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/gu

type Node = Record<string, unknown>

// Text is escaped here: the builder knows nothing of the line ends that a reader would change.
const builder = new XMLBuilder({
  preserveOrder: true,
  ignoreAttributes: false,
  attributeNamePrefix: '',
  processEntities: false,
  suppressEmptyNode: true,
  suppressBooleanAttributes: false,
})

/**
 * `<root>` around the document. A key that is no XML name becomes `<field name="…">`; null becomes `nil="true"`; numbers
 * keep their digits; a character that XML cannot hold becomes the replacement character.
 */
export function toXml(document: Json, root: string): Buffer<ArrayBuffer> {
  const text = builder.build([element(root, {}, document)])
  return Buffer.from(`<?xml version="1.0" encoding="UTF-8"?>\n${text.trim()}\n`)
}

function element(name: string, attributes: Record<string, string>, value: Json): Node {
  const all = value === null ? { ...attributes, nil: 'true' } : attributes
  return { [name]: contentOf(value), ...(Object.keys(all).length > 0 && { ':@': all }) }
}

function contentOf(value: Json): Node[] {
  if (Array.isArray(value)) return value.map((item) => element('item', {}, item))
  if (isObject(value)) {
    return Object.entries(value).map(([key, child]) =>
      NAME.test(key) ? element(key, {}, child) : element('field', { name: escaped(key, true) }, child),
    )
  }
  const text = escaped(textOf(value), false)
  return text === '' ? [] : [{ '#text': text }]
}

const REFERENCES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' }

/** A carriage return, and in an attribute any line end or tab, would be read back as something else. */
function escaped(text: string, attribute: boolean): string {
  return text
    .replace(FORBIDDEN, '\ufffd')
    .replace(/[&<>"]/g, (character) => REFERENCES[character]!)
    .replace(attribute ? /[\t\n\r]/g : /\r/g, (character) => `&#${character.charCodeAt(0)};`)
}
