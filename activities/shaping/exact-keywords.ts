// The JSON Schema keywords that compare numbers, with exact decimals; those of ajv compare doubles.
import type { Ajv } from 'ajv'
import type { DataValidateFunction } from 'ajv/dist/types/index.js'
import { compareDecimals, type Decimal, isMultiple, isWhole } from '../document/decimal.ts'
import { areEqual, canonicalText, decimalAt, digitsAt, exactJson } from './exact-numbers.ts'

/** Added beside `type: "integer"`, because ajv checks only the double. */
export const INTEGER = 'exact:integer'

type At = { parentData: unknown; parentDataProperty: string | number }

const LIMITS = {
  minimum: { sign: '>=', holds: (order: number) => order >= 0 },
  maximum: { sign: '<=', holds: (order: number) => order <= 0 },
  exclusiveMinimum: { sign: '>', holds: (order: number) => order > 0 },
  exclusiveMaximum: { sign: '<', holds: (order: number) => order < 0 },
}

/** Replaces these keywords in an instance of ajv. `readNumbers` has stored the digits of a value by its position. */
export function useExactKeywords(ajv: Ajv): void {
  for (const [keyword, { sign, holds }] of Object.entries(LIMITS)) {
    replace(ajv, keyword, 'number', 'number', (limit: number, parent) => {
      const text = digitsAt(parent, keyword) ?? String(limit)
      const bound = decimalAt(limit, parent, keyword)
      const isDouble = digitsAt(parent, keyword) === undefined
      return checking(keyword, `must be ${sign} ${text}`, (value: number, at) => {
        const plain = isDouble && digitsAt(at.parentData, at.parentDataProperty) === undefined
        return holds(plain ? value - limit : compareDecimals(exactly(value, at), bound))
      })
    })
  }
  replace(ajv, 'multipleOf', 'number', 'number', (divisor: number, parent) => {
    const text = digitsAt(parent, 'multipleOf') ?? String(divisor)
    const of = decimalAt(divisor, parent, 'multipleOf')
    return checking('multipleOf', `must be multiple of ${text}`, (value: number, at) =>
      isMultiple(exactly(value, at), of),
    )
  })
  replace(ajv, INTEGER, 'number', 'boolean', () =>
    checking('type', 'must be integer', (value: number, at) => isWhole(exactly(value, at))),
  )
  replace(ajv, 'const', undefined, undefined, (constant: unknown, parent) => {
    const wanted = { value: constant, holder: parent, key: 'const' }
    return checking('const', 'must be equal to constant', (value, { parentData, parentDataProperty }) =>
      areEqual({ value, holder: parentData, key: parentDataProperty }, wanted),
    )
  })
  replace(ajv, 'enum', undefined, 'array', (allowed: unknown[], parent) => {
    const entries = allowed.map((value, n) => ({ value, holder: allowed, key: n }))
    const plain = new Set(entries.filter(({ value }) => !isContainer(value)).map(canonicalText))
    const containers = entries.filter(({ value }) => isContainer(value))
    const params = { allowed: exactJson({ value: allowed, holder: parent, key: 'enum' }) }
    const check = (value: unknown, { parentData, parentDataProperty }: At) => {
      const found = { value, holder: parentData, key: parentDataProperty }
      return isContainer(value) ? containers.some((one) => areEqual(found, one)) : plain.has(canonicalText(found))
    }
    return checking('enum', 'must be equal to one of the allowed values', check, params)
  })
  replace(ajv, 'uniqueItems', 'array', 'boolean', (unique: boolean) => {
    const check: DataValidateFunction = (items: unknown[]) => {
      const twin = unique ? twinIn(items) : undefined
      if (!twin) return true
      const message = `must NOT have duplicate items (items ## ${twin[0]} and ${twin[1]} are identical)`
      check.errors = [{ keyword: 'uniqueItems', message, params: {} }]
      return false
    }
    return check
  })
}

/** The positions of two equal items. */
function twinIn(items: unknown[]): [number, number] | undefined {
  const seen = new Map<string, number>()
  for (const [n, value] of items.entries()) {
    const text = canonicalText({ value, holder: items, key: n })
    const before = seen.get(text)
    if (before !== undefined) return [before, n]
    seen.set(text, n)
  }
  return undefined
}

function exactly(value: number, { parentData, parentDataProperty }: At): Decimal {
  return decimalAt(value, parentData, parentDataProperty)
}

function isContainer(value: unknown): boolean {
  return typeof value === 'object' && value !== null
}

function checking(
  keyword: string,
  message: string,
  holds: (value: never, at: At) => boolean,
  params: Record<string, unknown> = {},
): DataValidateFunction {
  const check: DataValidateFunction = (value, at) => {
    if (holds(value as never, at as At)) return true
    check.errors = [{ keyword, message, params }]
    return false
  }
  return check
}

function replace(
  ajv: Ajv,
  keyword: string,
  type: 'number' | 'array' | undefined,
  schemaType: 'number' | 'boolean' | 'array' | undefined,
  compile: (schema: never, parent: object) => DataValidateFunction,
): void {
  ajv.removeKeyword(keyword)
  ajv.addKeyword({
    keyword,
    ...(type && { type }),
    ...(schemaType && { schemaType }),
    errors: true,
    compile: compile as (schema: unknown, parent: object) => DataValidateFunction,
  })
}

/** Keywords that contain values, not schemas. */
const VALUES = new Set(['const', 'enum', 'default', 'examples', 'example'])
const WHOLE_FORMATS = new Set<unknown>(['int32', 'int64'])

/**
 * Marks every schema that requires an integer. Changes the object itself: the digits of its numbers are found by the object.
 * @param maps keywords whose keys are names
 */
export function markIntegers(schema: unknown, maps: ReadonlySet<string>): void {
  const open: { node: unknown; names: boolean }[] = [{ node: schema, names: false }]
  for (let next = open.pop(); next; next = open.pop()) {
    const { node, names } = next
    if (typeof node !== 'object' || node === null) continue
    if (Array.isArray(node)) {
      for (const child of node) open.push({ node: child, names: false })
      continue
    }
    for (const [key, child] of Object.entries(node)) {
      if (!names && (VALUES.has(key) || key.startsWith('x-'))) continue
      open.push({ node: child, names: !names && maps.has(key) })
    }
    const { type, format } = node as { type?: unknown; format?: unknown }
    const types = Array.isArray(type) ? type : [type]
    const whole = (types.includes('integer') && !types.includes('number')) || WHOLE_FORMATS.has(format)
    if (!names && whole) Object.assign(node, { [INTEGER]: true })
  }
}
