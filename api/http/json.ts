// Parses JSON requests: strict, with limits for depth and number of values, without duplicate keys, and with the exact text of
// every top-level value. The cost is linear in the bytes, and the payload is not parsed into objects.
import { isUtf8 } from 'node:buffer'
import { JsonFault } from '../../activities/document/scan.ts'
import { inSlices } from '../../activities/document/time-slices.ts'
import { LIMITS } from '../../db/limits.ts'
import { DocumentReader, type JsonForm, MAX_DEPTH, PAYLOAD, type ParsedJson } from './document-reader.ts'
import { invalid } from './errors.ts'

export { type JsonForm, MAX_DEPTH, type ParsedJson, Texts } from './document-reader.ts'
export { fieldPath } from './field-path.ts'

const BYTE_ORDER_MARK = Buffer.from([0xef, 0xbb, 0xbf])

/** Requests of ordinary size must not wait for long behind large ones. */
const SLICE_MS = 2

/** Parses `sent`, or throws a 400 with the position and the problem. Lets other work run in between. */
export async function parseJson(sent: Buffer, form: JsonForm = {}): Promise<ParsedJson> {
  if (!isUtf8(sent)) throw invalid([{ field: 'body', issue: 'is not valid UTF-8' }])
  const bytes = sent.subarray(0, 3).equals(BYTE_ORDER_MARK) ? sent.subarray(3) : sent
  const reader = new DocumentReader(bytes, form)
  try {
    await inSlices(reader, SLICE_MS)
  } catch (error) {
    throw error instanceof JsonFault ? invalid([{ field: 'body', issue: wording(error, bytes, form) }]) : error
  }
  return reader.result()
}

function wording({ kind, offset }: JsonFault, bytes: Buffer, { max_depth = MAX_DEPTH, opaque = PAYLOAD }: JsonForm) {
  if (kind === 'depth') return `is nested deeper than ${max_depth}`
  if (kind === 'values') {
    return `has too many values: at most ${LIMITS.jsonValues.value}, and ${LIMITS.outerJsonValues.value} outside of ${opaque}`
  }
  return `is not valid JSON${whereabouts(bytes, offset)}`
}

/** Lines and columns count from 1, columns in UTF-16 units. */
function whereabouts(bytes: Buffer, offset: number): string {
  let line = 1
  let start = 0
  for (let at = 0; at < offset; at++) {
    if (bytes[at] !== 0x0a) continue
    line += 1
    start = at + 1
  }
  return ` (line ${line}, column ${bytes.toString('utf8', start, offset).length + 1})`
}
