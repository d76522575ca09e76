// The paths of fields in error messages.
import { pathText } from '../../activities/document/paths.ts'

/** `destinations[0].endpoint`; the whole request is `body`. */
export function fieldPath(path: readonly PropertyKey[]): string {
  return pathText(path) || 'body'
}
