// Where in a request something is, as errors name it.
import { pathText } from '../../activities/document/paths.ts'

/** `destinations[0].endpoint`; the whole request is `body`. */
export function fieldPath(path: readonly PropertyKey[]): string {
  return pathText(path) || 'body'
}
