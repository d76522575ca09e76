// A document as XML 1.0: an element for each key, `item` for each element of a list.
import { isObject, type Json, textOf } from './document.ts'

const NAME = /^(?!xml)[A-Za-z_][A-Za-z0-9._-]*$/i
/** XML 1.0, 2.2: no other character is allowed in a document, not even as a reference. */
const FORBIDDEN = /[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/gu

/**
 * `<root>` around the document. A key that is not an XML name becomes `<field name="…">`; null becomes `nil="true"`; numbers
 * keep their digits; a character that XML cannot hold becomes the replacement character.
 */
export function toXml(document: Json, root: string): Buffer<ArrayBuffer> {
  return Buffer.from(`<?xml version="1.0" encoding="UTF-8"?>\n${element(root, '', document)}\n`)
}

// Written by hand: with the builder of fast-xml-parser, 10 MB of short values took four times as long, and 2 GB.
function element(name: string, attributes: string, value: Json): string {
  if (value === null) return `<${name}${attributes} nil="true"/>`
  const content = contentOf(value)
  return content === '' ? `<${name}${attributes}/>` : `<${name}${attributes}>${content}</${name}>`
}

function contentOf(value: Json): string {
  let content = ''
  if (Array.isArray(value)) {
    for (const item of value) content += element('item', '', item)
  } else if (isObject(value)) {
    for (const [key, child] of Object.entries(value)) {
      content += NAME.test(key) ? element(key, '', child) : element('field', ` name="${escaped(key, true)}"`, child)
    }
  } else content = escaped(textOf(value), false)
  return content
}

/** Nearly every value needs no escapes. */
const PLAIN = /^[ !#-%'-;=?-~]*$/

const REFERENCES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' }

/** A parser would change a carriage return, and in an attribute any line end or tab. */
function escaped(text: string, attribute: boolean): string {
  if (PLAIN.test(text)) return text
  return text
    .replace(FORBIDDEN, '\ufffd')
    .replace(/[&<>"]/g, (character) => REFERENCES[character]!)
    .replace(attribute ? /[\t\n\r]/g : /\r/g, (character) => `&#${character.charCodeAt(0)};`)
}
