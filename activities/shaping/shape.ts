// Applies shapes to a payload: bytes in, bytes out. Pure except for its caches; runs in a shaping process.
import { DeliveryError } from '../destinations/errors.ts'
import { fillTemplate } from '../destinations/template/placeholders.ts'
import { pathText } from '../document/paths.ts'
import { toCsv } from '../formats/csv.ts'
import { FormatError, type Json, parseDocument, toJson } from '../formats/document.ts'
import { toXml } from '../formats/xml.ts'
import type { Shape } from './config.ts'
import { holdNumbers } from './exact-numbers.ts'
import { type ExpressionWords, evaluated } from './expression.ts'
import { documentProblems } from './json-schema.ts'
import { mapped } from './mapping.ts'
import { type Masking, masked } from './mask.ts'
import { branchesOf, changeAt, findAt, keepAt, stepsOf } from './paths.ts'
import { ShapingError } from './shaping-error.ts'

export interface ShapingWords extends ExpressionWords {
  delivery_id: string
}

export interface Shaped {
  body: Buffer
  content_type: string
  /** Possible surprises, if requested. */
  warnings?: string[]
}

/** A larger result is a mistake, and every later step would hold it in memory. */
export const MAX_SHAPED_BYTES = 33_554_432

/**
 * Each shape is applied to the result of the one before; the last one decides the format.
 * @throws ShapingError
 */
export async function shaped(
  shapes: readonly Shape[],
  payload: Buffer,
  words: ShapingWords,
  warns = false,
): Promise<Shaped> {
  const warnings: string[] | undefined = warns ? [] : undefined
  let document = parseDocument(payload)
  for (const shape of shapes) document = applied(shape, document, words, payload.length, warnings)
  const written = write(shapes.findLast(({ output }) => output)?.output ?? { format: 'json' }, document, words, payload)
  if (written.body.length > MAX_SHAPED_BYTES) {
    throw new ShapingError('limits', `the result has more than ${MAX_SHAPED_BYTES} bytes`)
  }
  return { ...written, ...(warnings && { warnings }) }
}

function applied(
  shape: Shape,
  payload: Json,
  words: ShapingWords,
  bytes: number,
  warnings: string[] | undefined,
): Json {
  let document = payload
  if (shape.include) {
    const kept = keepAt(document, [branchesOf(shape.include.map((path) => [path, true]))])
    document = kept ?? (Array.isArray(document) ? [] : {})
  }
  if (shape.exclude) {
    const gone = branchesOf(shape.exclude.map((path) => [path, true]))
    document = changeAt(document, [gone], () => undefined)
  }
  if (shape.mask) {
    const hidden = branchesOf(shape.mask.map((mask): [string, Masking] => [pathOf(mask), maskingOf(mask)]))
    document = changeAt(document, [hidden], masked)
  }
  if (shape.field_mapping) document = mapped(document, shape.field_mapping)
  if (shape.expression !== undefined) document = evaluated(shape.expression, document, words, warnings)
  if (shape.output_schema !== undefined) check(JSON.stringify(shape.output_schema), document, bytes)
  return document
}

type Mask = NonNullable<Shape['mask']>[number]

function pathOf(mask: Mask): string {
  return typeof mask === 'string' ? mask : mask.path
}

function maskingOf(mask: Mask): Masking {
  return typeof mask === 'string' ? { text: '***' } : mask
}

function check(schema: string, document: Json, bytes: number): void {
  const problems = documentProblems(schema, holdNumbers(document), bytes)
  if (problems.length === 0) return
  const [first] = problems
  const more = problems.length > 1 ? ` (and ${problems.length - 1} more)` : ''
  throw new ShapingError('output_schema', `${first!.issue}${more}`, placeOf(first!.path))
}

function placeOf(path: readonly (string | number)[]): string {
  const text = pathText(path)
  return text === '' || text.startsWith('[') ? `$${text}` : `$.${text}`
}

function write(output: NonNullable<Shape['output']>, document: Json, words: ShapingWords, payload: Buffer): Shaped {
  switch (output.format) {
    case 'json':
      return { body: Buffer.from(toJson(document)), content_type: 'application/json' }
    case 'ndjson': {
      const lines = rowsAt(document, output.rows_path)
      const list = Array.isArray(lines) ? lines : [lines]
      return {
        body: Buffer.from(list.map((line) => `${toJson(line)}\n`).join('')),
        content_type: 'application/x-ndjson',
      }
    }
    case 'csv': {
      const source = { path: output.rows_path ?? 'the document', bytes: payload.length }
      const body = inFormat(() => toCsv(rowsAt(document, output.rows_path), source, output))
      return { body, content_type: 'text/csv; charset=utf-8; header=present' }
    }
    case 'xml':
      return { body: inFormat(() => toXml(document, output.root)), content_type: 'application/xml; charset=utf-8' }
    case 'text':
      return { body: Buffer.from(textOf(output.template, document, words)), content_type: output.content_type }
  }
}

function inFormat<T>(make: () => T): T {
  try {
    return make()
  } catch (error) {
    if (error instanceof FormatError) throw new ShapingError('output', error.message)
    throw error
  }
}

function rowsAt(document: Json, path: string | undefined): Json {
  if (path === undefined) return document
  const steps = stepsOf(path)
  const found = [...findAt(document, steps)].map(({ value }) => value)
  if (found.length === 0) throw new ShapingError('output', 'there is no value', path)
  return found.length > 1 || steps.some((step) => typeof step === 'symbol') ? found : found[0]!
}

function textOf(template: string | undefined, document: Json, words: ShapingWords): string {
  if (template === undefined) {
    if (typeof document === 'string') return document
    throw new ShapingError('output', 'the shaped document is no text, and there is no template')
  }
  try {
    return fillTemplate(template, { ...words, attempt_number: 0, body: Buffer.from(toJson(document)) })
  } catch (error) {
    if (error instanceof DeliveryError) throw new ShapingError('output', error.message)
    throw error
  }
}
