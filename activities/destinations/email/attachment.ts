// The payload as a file: the accepted bytes as they are, or its rows as CSV, or all of it as XML.
import type { Message } from '../destination.ts'
import { DeliveryError } from '../errors.ts'
import { fillTemplate } from '../placeholders.ts'
import type { EmailConfig } from './config.ts'
import { toCsv } from './csv.ts'
import { toXml } from './xml.ts'

export interface Attachment {
  filename: string
  content: Buffer
  contentType: string
}

/** @throws DeliveryError MISCONFIGURED when the payload has not the shape that the format needs */
export function attachmentOf(config: EmailConfig['attachment'], message: Message): Attachment | undefined {
  if (config.format === 'none') return undefined
  const filename = fillFilename(config.filename, message)
  switch (config.format) {
    case 'json':
      return { filename, content: message.body, contentType: message.content_type }
    case 'csv':
      return { filename, content: toCsv(message.body, config), contentType: 'text/csv; charset=utf-8; header=present' }
    case 'xml':
      return { filename, content: toXml(message.body, config.root), contentType: 'application/xml; charset=utf-8' }
  }
}

/** What a placeholder brings can neither lead to another folder nor hide the file's kind. */
function fillFilename(template: string, message: Message): string {
  const filled = fillTemplate(template, message, (value) =>
    value.replace(/[/\\"<>|:*?\p{Cc}\p{Cf}]/gu, '_').replaceAll('..', '_'),
  )
  if (/^[. ]*$/.test(filled) || Buffer.byteLength(filled) > 255) {
    throw new DeliveryError('MISCONFIGURED', 'attachment.filename becomes empty or longer than 255 bytes')
  }
  return filled.replace(/^[. ]+/, '_')
}
