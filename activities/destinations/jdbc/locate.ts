// Finds the byte ranges of the rows in a payload, in one pass. A row is parsed only when it is about to be written.
import type { Step } from '../../document/paths.ts'
import { JsonScanner, TOKEN } from '../../document/scan.ts'
import { inSlices } from '../../document/time-slices.ts'

export interface Located {
  /** The first token of the value at the path; undefined when there is no such value. */
  token: number | undefined
  /**
   * For each element of the array, or for the one value: the offset of its first byte, and the offset after its last.
   */
  starts: number[]
  ends: number[]
  /** The first element that is not an object. */
  odd: { index: number; token: number } | undefined
}

/** @throws JsonFault if the body is not JSON */
export async function locateRows(body: Buffer, path: readonly Step[]): Promise<Located> {
  const walk = new Walk(body, path)
  await inSlices(walk)
  return walk.found
}

const nothing = (): Located => ({ token: undefined, starts: [], ends: [], odd: undefined })

/** A container that the path leads through. */
interface Level {
  array: boolean
  index: number
  key: string
}

class Walk {
  found = nothing()
  private readonly scanner: JsonScanner
  private readonly path: readonly Step[]
  private readonly levels: Level[] = []
  /** Depth of open containers that the path does not lead through. */
  private skipped = 0
  /** Depth of open containers within the value at the path, itself included; 0 outside of it. */
  private inside = 0

  constructor(body: Buffer, path: readonly Step[]) {
    this.scanner = new JsonScanner(body)
    this.path = path
  }

  get position(): number {
    return this.scanner.end
  }

  /** Reads one token; false at the end. */
  next(): boolean {
    const { scanner, levels } = this
    const token = scanner.next()
    if (token === TOKEN.end) return false
    const opens = token === TOKEN.openObject || token === TOKEN.openArray
    const closes = token === TOKEN.closeObject || token === TOKEN.closeArray
    if (this.inside > 0) this.within(token, opens, closes)
    else if (this.skipped > 0) this.skipped += opens ? 1 : closes ? -1 : 0
    else if (closes) levels.pop()
    else if (token === TOKEN.key) levels.at(-1)!.key = scanner.text()
    else this.value(token, opens)
    return true
  }

  /** Handles a value before the end of the path is reached. If a key occurs twice, the last one counts. */
  private value(token: number, opens: boolean): void {
    const top = this.levels.at(-1)
    if (top?.array) top.index += 1
    const step = this.path[this.levels.length - 1]
    const leads = !top || (top.array ? step === top.index : step === top.key)
    if (!leads) {
      if (opens) this.skipped = 1
      return
    }
    this.found = nothing()
    if (this.levels.length === this.path.length) {
      this.found.token = token
      if (opens) this.inside = 1
      if (token !== TOKEN.openArray) this.begin(token)
      if (!opens) this.found.ends.push(this.scanner.end)
    } else if (opens) this.levels.push({ array: token === TOKEN.openArray, index: -1, key: '' })
  }

  private within(token: number, opens: boolean, closes: boolean): void {
    const many = this.found.token === TOKEN.openArray
    if (many && this.inside === 1 && !closes) this.begin(token)
    this.inside += opens ? 1 : closes ? -1 : 0
    if (token === TOKEN.key) return
    if (this.inside === (many ? 1 : 0)) this.found.ends.push(this.scanner.end)
  }

  private begin(token: number): void {
    const { starts } = this.found
    if (token !== TOKEN.openObject) this.found.odd ??= { index: starts.length, token }
    starts.push(this.scanner.start)
  }
}
