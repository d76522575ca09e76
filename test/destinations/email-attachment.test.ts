// Files made of a payload: what no payload may do with them.
import { describe, expect, it } from 'vitest'
import { type CsvOptions, toCsv } from '../../activities/formats/csv.ts'
import { parseDocument } from '../../activities/formats/document.ts'

const USUAL = { delimiter: 'comma', formulas: 'escape' } as const

function csv(payload: unknown, given: Partial<CsvOptions> = {}): string {
  const body = Buffer.from(JSON.stringify(payload))
  return toCsv(parseDocument(body), { path: 'payload', bytes: body.length }, { ...USUAL, ...given }).toString()
}

describe('a payload as CSV', () => {
  it.each(['\n', '\r', '\r\n'])('has a field of several lines in quotes, so that it begins no row: %j', (end) => {
    expect(csv([{ a: `x${end}=1+1`, b: 1 }])).toBe(`a,b\r\n"x${end}=1+1",1\r\n`)
  })

  it.each(['=1', '+1', '-1', '@x', '\t=1', '\r=1', '\n=1', '\uff1d1'])('has no formula: %j', (a) => {
    const [, field] = /^a\r\n"?([^"]*)"?\r\n$/.exec(csv([{ a }]))!
    expect(field).toBe(`'${a}`)
  })

  it('has a row for each row, also where its only field is empty', () => {
    expect(csv([{ a: null }, { a: 1 }, {}])).toBe('a\r\n""\r\n1\r\n""\r\n')
  })

  it('does not become a table of nothing, many times the size of the payload', () => {
    const rows = Array.from({ length: 50_000 }, (_, n) => ({ [`k${n}`]: n }))
    expect(() => csv(rows)).toThrow('50000 rows of 50000 columns are too many')
    expect(csv(rows, { columns: ['k7'] }).split('\r\n')[8]).toBe('7')
  })
})
