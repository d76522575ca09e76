// Mail addresses: a strict subset of RFC 5322, so that no value of a placeholder can add a recipient, a command or a
// header.
import { domainToASCII } from 'node:url'
import { DeliveryError } from '../errors.ts'
import { fillTemplate, hasPlaceholders, placeholderProblem, type Values } from '../template/placeholders.ts'

/** `Name <local@domain>`; the domain is in ASCII (IDNA), the name may be empty. */
export interface Mailbox {
  name: string
  address: string
}

/** Dot-atoms of RFC 5322, 3.2.3: no quoted local parts, comments, groups or literal addresses. */
const LOCAL = /^[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*$/
const RAW_DOMAIN = /^[\p{L}\p{M}\p{N}.-]+$/u
const LABEL = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/
/** `Name <address>`, `"Name" <address>`, `<address>` or `address`. */
const MAILBOX = /^(?:(?:"([^"\\]*)"|([^"<>(),:;@\\]*?))\s*<([^<>]*)>|([^<>]*))$/
/** Characters that can end an address, or begin another one, a header or a command. */
const UNSAFE = /[\s,;:<>()[\]"\\\p{Cc}]/u

/** An address without a name, its domain in ASCII, or its problem. */
export function readAddress(text: string): { address: string } | { problem: string } {
  const at = text.lastIndexOf('@')
  if (at < 1) return { problem: 'is not an address; write local@domain or Name <local@domain>' }
  const local = text.slice(0, at)
  const raw = text.slice(at + 1)
  if (/[^\p{ASCII}]/u.test(local)) {
    return { problem: 'contains non-ASCII characters before the @; they need SMTPUTF8, which is not supported' }
  }
  if (local.length > 64 || !LOCAL.test(local)) return { problem: 'has a part before the @ that is not supported' }
  const domain = RAW_DOMAIN.test(raw) ? domainToASCII(raw) : ''
  const labels = domain.split('.')
  if (domain.length > 253 || !labels.every((label) => LABEL.test(label)) || /^\d+$/.test(labels.at(-1)!)) {
    return { problem: 'has no domain name after the @' }
  }
  const address = `${local}@${domain}`
  return address.length > 254 ? { problem: 'is longer than 254 characters' } : { address }
}

/** A mailbox without placeholders, or its problem. */
export function readMailbox(text: string): Mailbox | { problem: string } {
  if (/\p{Cc}/u.test(text)) return { problem: 'contains a control character' }
  const parts = partsOf(text)
  if (!parts) return { problem: 'is not one address; write local@domain or Name <local@domain>' }
  const read = readAddress(parts.address)
  return 'problem' in read ? read : { name: parts.name, address: read.address }
}

/** The problem of a mailbox that may contain placeholders; undefined if there is none. */
export function mailboxProblem(template: string): string | undefined {
  if (/\p{Cc}/u.test(template)) return 'contains a control character'
  const problem = placeholderProblem(template)
  if (problem) return problem
  const parts = partsOf(template)
  if (!parts) return 'is not one address; write local@domain or Name <local@domain>'
  // The progress of a delivery lists accepted recipients by their address.
  if (parts.address.includes('{attempt_number}'))
    return 'contains {attempt_number}: each attempt would have another recipient'
  const sample = parts.address.replace(/\{\{|\}\}|\{[^{}]*\}/g, (part) => (part.length > 2 ? 'x' : part.slice(0, 1)))
  if (hasPlaceholders(parts.address) && !sample.includes('@')) {
    return UNSAFE.test(sample) ? 'is not one address' : undefined
  }
  const read = readAddress(sample)
  return 'problem' in read ? read.problem : undefined
}

/**
 * Fills in the placeholders of a mailbox; the result is exactly one mailbox.
 * @throws DeliveryError MISCONFIGURED that names the field, never the value
 */
export function fillMailbox(field: string, template: string, values: Values): Mailbox {
  const parts = partsOf(template)
  if (!parts) throw new DeliveryError('MISCONFIGURED', `${field} is not one address`)
  const name = fillTemplate(parts.name, values, (value, placeholder) => {
    if (!/\p{Cc}/u.test(value)) return value
    throw new DeliveryError('MISCONFIGURED', `{${placeholder}} puts a control character into ${field}`)
  })
  const filled = fillTemplate(parts.address, values, (value, placeholder) => {
    if (!UNSAFE.test(value)) return value
    throw new DeliveryError('MISCONFIGURED', `{${placeholder}} makes ${field} something other than one address`)
  })
  const read = readAddress(filled)
  if ('problem' in read)
    throw new DeliveryError('MISCONFIGURED', `${field} with its placeholders filled in ${read.problem}`)
  return { name, address: read.address }
}

export function domainOf(address: string): string {
  return address.slice(address.lastIndexOf('@') + 1)
}

function partsOf(text: string): Mailbox | undefined {
  const match = MAILBOX.exec(text.trim())
  if (!match) return undefined
  const [, quoted, plain, bracketed, bare] = match
  return { name: (quoted ?? plain ?? '').trim(), address: (bracketed ?? bare ?? '').trim() }
}
