// Files made of a payload: what no payload may do with them.
import { describe, expect, it } from 'vitest'
import type { Message } from '../../../activities/destinations/destination.ts'
import { attachmentOf } from '../../../activities/destinations/email/attachment.ts'
import type { EmailConfig } from '../../../activities/destinations/email/config.ts'
import { type CsvOptions, toCsv } from '../../../activities/formats/csv.ts'
import { parseDocument } from '../../../activities/formats/document.ts'

const USUAL = { delimiter: 'comma', formulas: 'escape' } as const

function csv(payload: unknown, given: Partial<CsvOptions> = {}): string {
  const body = Buffer.from(JSON.stringify(payload))
  return toCsv(parseDocument(body), { path: 'payload', bytes: body.length }, { ...USUAL, ...given }).toString()
}

describe('a payload as CSV', () => {
  it.each(['\n', '\r', '\r\n'])('quotes a field of several lines, so that it does not begin a row: %j', (end) => {
    expect(csv([{ a: `x${end}=1+1`, b: 1 }])).toBe(`a,b\r\n"x${end}=1+1",1\r\n`)
  })

  it.each(['=1', '+1', '-1', '@x', '\t=1', '\r=1', '\n=1', '\uff1d1'])('contains no formula: %j', (a) => {
    const [, field] = /^a\r\n"?([^"]*)"?\r\n$/.exec(csv([{ a }]))!
    expect(field).toBe(`'${a}`)
  })

  it.each([
    ['x;=1+1', `"x;'=1+1"`],
    ['x,=1+1', `"x,'=1+1"`],
    ['x\t=1+1', `"x\t'=1+1"`],
    ['x; \u00a0@sum', `"x; \u00a0'@sum"`],
    ['x;"=1', `"x;""'=1"`],
    ['a;+1;-2,@x', `"a;'+1;'-2,'@x"`],
    ['x;\uff0b1', `"x;'\uff0b1"`],
    ['  =1+1', `'  =1+1`],
    ['"=1+1', `"'""=1+1"`],
    ['x\r\n=1+1', `"x\r\n'=1+1"`],
    ['\t=1', `"'\t'=1"`],
    ['x;\n\t=1', `"x;\n\t'=1"`],
    ['Rome; Milan, 3+4 = 7', '"Rome; Milan, 3+4 = 7"'],
    ['a=b', 'a=b'],
  ])('contains no formula after the separator of another spreadsheet program: %j', (text, field) => {
    expect(csv([{ n: 1, text }])).toBe(`n,text\r\n1,${field}\r\n`)
    // The names of columns come from a payload as well.
    if (!/[\t\n]/.test(text)) expect(csv([{ [text]: 1 }])).toBe(`${field}\r\n1\r\n`)
  })

  it.each(['comma', 'semicolon', 'tab'] as const)(
    'contains no formula in nested values, which stay the same JSON: %s',
    (delimiter) => {
      const nested = { '=k': ['=1', 'x;=1', ' +1', 'a,-b', '\t@x', '\uff1d1', -2, 1.5, null], ok: 'a=b' }
      const [, row] = csv([{ n: 1, nested }], { delimiter }).split('\r\n')
      const json = row!.slice(3, -1).replaceAll('""', '"')
      expect(JSON.parse(json)).toEqual(nested)
      expect(json).not.toMatch(/(^|[,;\t"])[\s"]*[=@\uff1d]|"[\s"]*[+-]|;[-+]/)
      expect(json).toContain('-2,1.5')
    },
  )

  it.each(['\t', ';', '"', "'", ' ', ';=', '\\"', '; "', '\n'])(
    'is checked in linear time for a text of %j',
    (piece) => {
      const used = (count: number) => {
        const text = piece.repeat(count)
        const before = process.cpuUsage()
        csv([{ n: 1, text, nested: [text] }])
        const { user, system } = process.cpuUsage(before)
        return (user + system) / 1000
      }
      const short = used(20_000)
      expect(used(200_000)).toBeLessThan(30 * short + 500)
    },
  )

  it('keeps formulas and begins with a byte order mark when configured', () => {
    expect(csv([{ a: 'x;=1', b: ['=1'] }], { formulas: 'keep' })).toBe('a,b\r\nx;=1,"[""=1""]"\r\n')
    expect(csv([{ a: 'è' }], { bom: true })).toBe('\ufeffa\r\nè\r\n')
    expect(csv([{ a: 1 }], { bom: false })).toBe('a\r\n1\r\n')
  })

  it('has a line for each row, also when its only field is empty', () => {
    expect(csv([{ a: null }, { a: 1 }, {}])).toBe('a\r\n""\r\n1\r\n""\r\n')
  })

  it('does not become a table of empty fields, many times the size of the payload', () => {
    const rows = Array.from({ length: 50_000 }, (_, n) => ({ [`k${n}`]: n }))
    expect(() => csv(rows)).toThrow('50000 rows of 50000 columns are too many')
    expect(csv(rows, { columns: ['k7'] }).split('\r\n')[8]).toBe('7')
  })
})

describe('a payload that was shaped into another type', () => {
  const nameOf = async (content_type: string, filename: string) => {
    const words = { distribution_id: 'dist_1', body: Buffer.from('x'), content_type } as unknown as Message
    return (await attachmentOf({ format: 'json', filename }, words))?.filename
  }

  it('has a file name for its type, unless one is configured', async () => {
    expect(await nameOf('text/csv; charset=utf-8; header=present', '{distribution_id}.json')).toBe('dist_1.csv')
    expect(await nameOf('application/xml; charset=utf-8', '{distribution_id}.json')).toBe('dist_1.xml')
    expect(await nameOf('application/json', '{distribution_id}.json')).toBe('dist_1.json')
    expect(await nameOf('text/csv', 'report.dat')).toBe('report.dat')
  })
})

it.each(['csv', 'xml'] as const)(
  'a payload of a great many values is not made into %s on the thread of all deliveries',
  async (format) => {
    const attach = (values: number) => {
      const body = Buffer.from(`[{"a":[${'0,'.repeat(values)}0]}]`)
      const message = { distribution_id: 'dist_1', body, content_type: 'application/json' } as unknown as Message
      const usual = { filename: 'a', rows_path: 'payload', root: 'payload', ...USUAL }
      return attachmentOf({ ...usual, format } as unknown as EmailConfig['attachment'], message)
    }
    expect((await attach(1000))?.content.length).toBeGreaterThan(1000)
    const refusal = { code: 'MISCONFIGURED', message: expect.stringContaining(`output.format "${format}"`) }
    await expect(attach(100_000)).rejects.toThrow(expect.objectContaining(refusal))
  },
)
