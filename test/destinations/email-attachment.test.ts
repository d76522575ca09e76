// Files made of a payload: what no payload may do with them.
import { describe, expect, it } from 'vitest'
import type { Message } from '../../activities/destinations/destination.ts'
import { attachmentOf } from '../../activities/destinations/email/attachment.ts'
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

describe('a payload that was shaped into something else', () => {
  const nameOf = (content_type: string, filename: string) => {
    const words = { distribution_id: 'dist_1', body: Buffer.from('x'), content_type } as unknown as Message
    return attachmentOf({ format: 'json', filename }, words)?.filename
  }

  it('has a name that says so, unless somebody chose another one', () => {
    expect(nameOf('text/csv; charset=utf-8; header=present', '{distribution_id}.json')).toBe('dist_1.csv')
    expect(nameOf('application/xml; charset=utf-8', '{distribution_id}.json')).toBe('dist_1.xml')
    expect(nameOf('application/json', '{distribution_id}.json')).toBe('dist_1.json')
    expect(nameOf('text/csv', 'report.dat')).toBe('report.dat')
  })
})
