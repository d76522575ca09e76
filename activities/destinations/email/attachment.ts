// The payload as a file: the accepted bytes, its rows as CSV, or the whole payload as XML.

import { LIMITS } from '../../../db/limits.ts'
import { JsonFault, JsonScanner, TOKEN } from '../../document/scan.ts'
import { createPace, nextSlice } from '../../document/time-slices.ts'
import { toCsv } from '../../formats/csv.ts'
import { FormatError, isObject, type Json, parseDocument } from '../../formats/document.ts'
import { toXml } from '../../formats/xml.ts'
import type { Message } from '../destination.ts'
import { DeliveryError } from '../errors.ts'
import { fillTemplate } from '../template/placeholders.ts'
import { type EmailConfig, JSON_FILENAME } from './config.ts'

export interface Attachment {
  filename: string
  content: Buffer
  contentType: string
}

/**
 * Lets other work run between its steps; `attachmentValues` limits the size of a step.
 * @throws DeliveryError MISCONFIGURED when the payload does not have the structure that the format needs
 */
export async function attachmentOf(
  config: EmailConfig['attachment'],
  message: Message,
): Promise<Attachment | undefined> {
  if (config.format === 'none') return undefined
  if (config.format !== 'json' && message.content_type !== 'application/json') {
    const { format } = config
    throw new DeliveryError(
      'MISCONFIGURED',
      `attachment: ${format} can only be made from JSON, not from ${message.content_type}`,
    )
  }
  const filename = fillFilename(nameFor(config.filename, message.content_type), message)
  if (config.format === 'json') return { filename, content: message.body, contentType: message.content_type }
  await refuseMany(message.body, config.format)
  await nextSlice()
  const document = parseDocument(message.body)
  await nextSlice()
  return config.format === 'csv'
    ? {
        filename,
        content: csvOf(document, message.body, config),
        contentType: 'text/csv; charset=utf-8; header=present',
      }
    : { filename, content: toXml(document, config.root), contentType: 'application/xml; charset=utf-8' }
}

/** The file is made in this process, so its size is limited; `transform_config` uses a separate process. */
async function refuseMany(body: Buffer, format: 'csv' | 'xml'): Promise<void> {
  const pace = createPace()
  const max_values = LIMITS.attachmentValues.value
  const scanner = new JsonScanner(body, { max_depth: Number.POSITIVE_INFINITY, max_values })
  try {
    for (let tokens = 1; scanner.next() !== TOKEN.end; tokens += 1) if (tokens % 1000 === 0) await pace()
  } catch (error) {
    if (!(error instanceof JsonFault)) throw error
    if (error.kind !== 'values') return
    const advice = `make the file with transform_config (output.format "${format}") and attach it with the format json`
    throw new DeliveryError(
      'MISCONFIGURED',
      `attachment: the payload has more than ${max_values} values, the limit for ${format}; ${advice}`,
    )
  }
}

const ENDINGS: Record<string, string> = {
  'text/csv': 'csv',
  'application/xml': 'xml',
  'application/x-ndjson': 'ndjson',
  'text/plain': 'txt',
  'text/html': 'html',
}

/** A shaped payload may be something other than JSON; the default file name gets the right ending. */
function nameFor(filename: string, contentType: string): string {
  const ending = ENDINGS[contentType.split(';')[0]!]
  return filename === JSON_FILENAME && ending !== undefined ? filename.replace(/json$/, ending) : filename
}

function csvOf(document: Json, body: Buffer, config: Extract<EmailConfig['attachment'], { format: 'csv' }>): Buffer {
  const { rows_path } = config
  try {
    return toCsv(valueAt(document, rows_path), { path: rows_path, bytes: body.length }, config)
  } catch (error) {
    if (!(error instanceof FormatError)) throw error
    throw new DeliveryError('MISCONFIGURED', `attachment: ${error.message}`)
  }
}

/** The value at a path such as `payload.items[0]`; undefined when there is none. */
function valueAt(payload: Json, path: string): Json | undefined {
  const segments = path
    .replace(/\[(\d+)\]/g, '.$1')
    .split('.')
    .slice(1)
  return segments.reduce<Json | undefined>((value, segment) => {
    if (Array.isArray(value)) return /^\d+$/.test(segment) ? value[Number(segment)] : undefined
    return isObject(value) && Object.hasOwn(value, segment) ? value[segment] : undefined
  }, payload)
}

/** The value of a placeholder can neither lead to another folder nor hide the file's type. */
function fillFilename(template: string, message: Message): string {
  const filled = fillTemplate(template, message, (value) =>
    value.replace(/[/\\"<>|:*?\p{Cc}\p{Cf}]/gu, '_').replaceAll('..', '_'),
  )
  if (/^[. ]*$/.test(filled) || Buffer.byteLength(filled) > 255) {
    throw new DeliveryError('MISCONFIGURED', 'attachment.filename becomes empty or longer than 255 bytes')
  }
  return filled.replace(/^[. ]+/, '_')
}
