// JSON whose numbers keep every digit.
import { LosslessNumber } from 'lossless-json'
import { JsonScanner, TOKEN } from '../../document/scan.ts'
import { createPace, TURN_BYTES } from '../../document/turns.ts'
import { DeliveryError } from '../errors.ts'

type Container = unknown[] | Record<string, unknown>

/**
 * Of a key that occurs twice the last one counts, as for PostgreSQL's jsonb.
 * @throws JsonFault
 */
export function parseJson(json: string | Buffer): unknown {
  const builder = new Builder(typeof json === 'string' ? Buffer.from(json, 'utf8') : json)
  while (builder.next()) {}
  return builder.root
}

/** The same for megabytes: others have their turn on the event loop meanwhile. */
export async function parseJsonInTurns(json: Buffer): Promise<unknown> {
  const builder = new Builder(json)
  const pace = createPace()
  for (let turn = TURN_BYTES / 8; builder.next(); ) {
    if (builder.position < turn) continue
    await pace()
    turn = builder.position + TURN_BYTES / 8
  }
  return builder.root
}

class Builder {
  root: unknown
  private readonly json: Buffer
  private readonly scanner: JsonScanner
  private readonly open: { container: Container; key: string }[] = []

  constructor(json: Buffer) {
    this.json = json
    this.scanner = new JsonScanner(json)
  }

  get position(): number {
    return this.scanner.end
  }

  /** Reads one token; false at the end. */
  next(): boolean {
    const { scanner, open } = this
    const token = scanner.next()
    if (token === TOKEN.end) return false
    if (token === TOKEN.key) open[open.length - 1]!.key = scanner.text()
    else if (token === TOKEN.closeObject || token === TOKEN.closeArray) open.pop()
    else if (token === TOKEN.openObject || token === TOKEN.openArray) {
      const container: Container = token === TOKEN.openObject ? {} : []
      this.put(container)
      open.push({ container, key: '' })
    } else this.put(this.single(token))
    return true
  }

  private single(token: number): unknown {
    const { scanner } = this
    if (token === TOKEN.string) return scanner.text()
    if (token === TOKEN.number) return new LosslessNumber(this.json.toString('latin1', scanner.start, scanner.end))
    return token === TOKEN.null ? null : token === TOKEN.true
  }

  private put(value: unknown): void {
    const top = this.open[this.open.length - 1]
    if (!top) this.root = value
    else if (Array.isArray(top.container)) top.container.push(value)
    // An assignment to `__proto__` would change what the object inherits from.
    else if (top.key === '__proto__') {
      const own = { value, enumerable: true, configurable: true, writable: true }
      Object.defineProperty(top.container, top.key, own)
    } else top.container[top.key] = value
  }
}

/** By what made it: a payload may hold an object that merely looks like one. */
export function isNumber(value: unknown): value is LosslessNumber {
  return value instanceof LosslessNumber
}

/**
 * Without white space.
 * @throws DeliveryError REJECTED for what is nested too deeply, or too large, to be a text
 */
export function jsonText(value: unknown): string {
  return withinDepth(() => textOf(value))
}

/** @throws DeliveryError REJECTED where `write` runs out of stack, or makes a text that is too large */
export function withinDepth(write: () => string): string {
  try {
    return write()
  } catch (error) {
    if (!(error instanceof RangeError)) throw error
    throw new DeliveryError('REJECTED', 'a value is nested too deeply, or too large, to be written')
  }
}

function textOf(value: unknown): string {
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  if (isNumber(value)) return value.value
  if (Array.isArray(value)) return `[${value.map(textOf).join(',')}]`
  return `{${Object.entries(value)
    .map(([key, item]) => `${JSON.stringify(key)}:${textOf(item)}`)
    .join(',')}}`
}
