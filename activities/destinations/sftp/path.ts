// The remote paths of a delivery. The configuration decides the folders; values of the payload can only be part of a name.
import { posix } from 'node:path'
import type { Message } from '../destination.ts'
import { DeliveryError } from '../errors.ts'
import { fillTemplate } from '../template/placeholders.ts'

/** `temporary_suffix` may not be this one. */
export const ASIDE_SUFFIX = '.older'

export interface RemotePlace {
  /** Empty for the start folder of the user. */
  directory: string
  /** The file itself. */
  target: string
  /** The name while the file is written. One per attempt: a server may carry out late requests of an earlier attempt. */
  temporary: string
  /** Temporary files that earlier attempts of the delivery may have left. */
  leftovers: string[]
  /** Name of the older file while it is replaced, if the server cannot do that in one step. */
  aside: string
  /** Older files that earlier attempts may have left aside, the latest first. */
  earlierAsides: string[]
  /** The second name for `keep_both`, in the same folder; one per delivery, so that a retry makes no third file. */
  second: string
}

/** The problem with a template for a remote file; undefined if it is valid. */
export function pathProblem(template: string): string | undefined {
  if (template === '' || template.endsWith('/')) return 'must end with the name of a file'
  if (template.includes('\\')) return 'contains a backslash; folders are separated by "/"'
  if (template.startsWith('~'))
    return 'begins with "~"; a path without a leading "/" begins at the start folder of the user'
  if (/\{[^{}]*\/[^{}]*\}/.test(template)) return 'contains a placeholder with a "/"'
  if (template.includes('{attempt_number}')) return 'contains {attempt_number}: a retry would create another file'
  const segments = template.replace(/^\//, '').split('/')
  if (segments.includes('')) return 'contains an empty folder name ("//")'
  if (segments.some((segment) => segment === '.' || segment === '..')) return 'contains "." or ".." as a folder'
  return undefined
}

/**
 * @throws DeliveryError MISCONFIGURED for a placeholder without a value, or whose value would lead to another folder: with a
 * separator or control character, or one that makes a name empty, hidden, "." or ".."
 */
export function fillPath(
  { path, temporary_suffix }: { path: string; temporary_suffix: string },
  message: Message,
): RemotePlace {
  const filled = fillTemplate(path, message, (value, name) => {
    // A backslash separates folders on Windows.
    if (/[/\\\p{Cc}]/u.test(value)) {
      throw new DeliveryError('MISCONFIGURED', `{${name}} puts a "/", a "\\" or a control character into the path`)
    }
    return value
  })
  const templates = path.split('/')
  for (const [at, segment] of filled.split('/').entries()) {
    const template = templates[at]!
    if (segment === template) continue
    // Hidden names are refused too: a payload must not reach .ssh or another delivery's temporary file.
    if (segment === '' || (segment.startsWith('.') && !template.startsWith('.')) || /^\.{1,2}$/.test(segment)) {
      throw new DeliveryError('MISCONFIGURED', `"${template}" in the path becomes empty, or begins with a dot`)
    }
  }
  const { dir, name, ext } = posix.parse(filled)
  const within = (file: string) => (dir === '' ? file : posix.join(dir, file))
  const own = (attempt: number, suffix: string) =>
    within(`.${message.delivery_id}${attempt === 1 ? '' : `.${attempt}`}${suffix}`)
  const earlier = Array.from({ length: message.attempt_number - 1 }, (_, at) => at + 1)
  return {
    directory: dir,
    target: filled,
    temporary: own(message.attempt_number, temporary_suffix),
    leftovers: earlier.map((attempt) => own(attempt, temporary_suffix)),
    aside: own(message.attempt_number, ASIDE_SUFFIX),
    earlierAsides: earlier.toReversed().map((attempt) => own(attempt, ASIDE_SUFFIX)),
    second: within(`${name}-${message.delivery_id}${ext}`),
  }
}

/** The folders of a template before its first placeholder; empty for the start folder of the user. */
export function fixedDirectory(template: string): string {
  const placeholder = template.search(/(?<!\{)(?:\{\{)*\{(?!\{)/)
  const fixed = placeholder < 0 ? template : template.slice(0, placeholder)
  const end = fixed.lastIndexOf('/')
  const directory = end === 0 ? '/' : fixed.slice(0, Math.max(end, 0))
  return directory.replace(/([{}])\1/g, '$1')
}
