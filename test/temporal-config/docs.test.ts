import { describe, expect, it } from 'vitest'
import { withTables } from '../../temporal-config/docs.ts'

const OUTLINE = [
  '# Title',
  '<!-- generated: settings -->',
  'an old table',
  '<!-- end -->',
  'between',
  '<!-- generated: REST -->',
  '<!-- end -->',
  'after',
].join('\n')

describe('the generated tables', () => {
  it('stand between their marks, and the text around them stays', () => {
    const text = withTables(OUTLINE)
    expect(text).not.toContain('an old table')
    expect(text).toContain('| `API_PORT` | 8000 |')
    expect(text).toMatch(/\| `endpoint` \| string \| required \|/)
    expect(text.split('\n').filter((line) => !line.startsWith('|'))).toEqual(
      OUTLINE.split('\n').filter((line) => line !== 'an old table'),
    )
  })

  it('do not change when they are made again', () => {
    expect(withTables(withTables(OUTLINE))).toBe(withTables(OUTLINE))
  })

  it('ask for their marks', () => {
    expect(() => withTables('# Title')).toThrow('README.md has no section <!-- generated: settings -->')
  })
})
