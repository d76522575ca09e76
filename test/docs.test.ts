// The README's tables are made from the schemas; here is seen that they still agree.
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { destinationFor } from '../activities/destinations/registry.ts'
import { OPERATOR_NAMES } from '../activities/rules/operators.ts'
import { PROTOCOLS } from '../db/states.ts'
import { describeSettings } from '../temporal-config/process/settings.ts'
import { regenerate, staleParts } from './docs.ts'

const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8')

describe('the examples of README.md', () => {
  it('hold a valid configuration of each protocol', () => {
    const json = /```json destinations\n([\s\S]*?)```/.exec(readme)?.[1] ?? ''
    const examples = JSON.parse(json) as Record<string, unknown>
    expect(Object.keys(examples)).toEqual([...PROTOCOLS])
    for (const protocol of PROTOCOLS) {
      const { error } = destinationFor(protocol).config.safeParse(examples[protocol])
      expect(error, protocol).toBeUndefined()
    }
  })
})

describe('the generated tables of README.md', () => {
  it('say what the schemas say; `npm run docs` writes them', () => {
    expect(staleParts(readme)).toEqual([])
  })

  it('hold every setting and every protocol', () => {
    for (const { name } of describeSettings()) expect(readme).toContain(`| \`${name}\` |`)
    for (const protocol of PROTOCOLS) expect(readme).toContain(`\n### ${protocol}\n`)
  })

  it('mark every secret, and say what each field of a destination means', () => {
    const rows = readme.slice(readme.indexOf('<!-- docs: destinations -->')).match(/^\| `.*$/gm) ?? []
    expect(rows.find((row) => row.startsWith('| `auth.password`'))).toContain('**secret**')
    expect(rows.filter((row) => row.endsWith('|  |'))).toEqual([])
  })

  it('are stale once a default is written by hand, and are mended by name', () => {
    const edited = readme.replace('| `API_PORT` | 8000 |', '| `API_PORT` | 9000 |')
    expect(staleParts(edited)).toEqual(['settings'])
    expect(regenerate(edited)).toBe(readme)
  })

  it('need their markers', () => {
    expect(() => staleParts('# Distributor')).toThrow('<!-- docs: settings --> is missing')
  })
})

describe('the text of README.md', () => {
  it('links only to files and headings that are there', () => {
    const headings = [...readme.matchAll(/^#+ (.*)$/gm)].map(([, title]) => anchor(title ?? ''))
    for (const [, target = ''] of readme.matchAll(/\]\(([^)\s]+)\)/g)) {
      if (target.startsWith('#')) expect(headings).toContain(target.slice(1))
      else if (!/^[a-z]+:/.test(target)) {
        expect(() => readFileSync(new URL(`../${target}`, import.meta.url)), target).not.toThrow()
      }
    }
  })

  it('names every operator of a condition', () => {
    for (const name of OPERATOR_NAMES) expect(readme).toContain(`\`${name}\``)
  })

  it('names only scripts that exist', () => {
    const scripts = Object.keys(JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')).scripts)
    for (const [, name] of readme.matchAll(/npm run ([a-z]+)/g)) expect(scripts).toContain(name)
  })
})

/** As the usual pages that show Markdown make it from a heading. */
function anchor(title: string): string {
  return title
    .toLowerCase()
    .replace(/[^\p{L}\p{N} _-]/gu, '')
    .replaceAll(' ', '-')
}
