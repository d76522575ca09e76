// The pages agree with the code: generated tables, examples, links, and an entry of the runbook for every code.
// test/e2e/documentation.test.ts runs their commands.
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { destinationFor, PROTOCOLS } from '../activities/destinations/registry.ts'
import { OPERATOR_NAMES } from '../activities/rules/operators.ts'
import { ENDPOINTS, SERVICE_ENDPOINTS } from '../api/endpoints.ts'
import { ERROR_STATUS } from '../api/http/errors.ts'
import type { Pool } from '../db/pool.ts'
import { DELIVERY_CODES, EVENT_TYPES } from '../db/states.ts'
import { createMetrics } from '../temporal-config/process/metrics.ts'
import { addReadinessGauge, addScrapedGauges } from '../temporal-config/process/scraped-gauges.ts'
import { describeSettings } from '../temporal-config/process/settings.ts'
import { GENERATED, regenerate, staleParts } from './docs.ts'
import { anchorsOf, blocksOf, PAGES, readPage } from './support/pages.ts'

const root = fileURLToPath(new URL('../', import.meta.url))
const packageJson = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
  version: string
  scripts: Record<string, string>
}

describe('the examples of docs/destinations.md', () => {
  it('hold a valid configuration of each protocol', () => {
    const json = blocksOf('docs/destinations.md').find((block) => block.terminal === 'destinations')!.text
    const examples = JSON.parse(json) as Record<string, unknown>
    expect(Object.keys(examples)).toEqual([...PROTOCOLS])
    for (const protocol of PROTOCOLS) {
      const { error } = destinationFor(protocol).config.safeParse(examples[protocol])
      expect(error, protocol).toBeUndefined()
    }
  })
})

describe('the generated tables', () => {
  it.each(Object.keys(GENERATED))('say in %s what the schemas say; `npm run docs` writes them', (page) => {
    expect(staleParts(page, readPage(page))).toEqual([])
  })

  it('hold every setting and every protocol', () => {
    const settings = readPage('docs/settings.md')
    for (const { name } of describeSettings()) expect(settings).toContain(`| \`${name}\` |`)
    const destinations = readPage('docs/destinations.md')
    for (const protocol of PROTOCOLS) expect(destinations).toContain(`\n### ${protocol}\n`)
  })

  it('mark every secret, and say what each field of a destination means', () => {
    const page = readPage('docs/destinations.md')
    const rows = page.slice(page.indexOf('<!-- docs: destinations -->')).match(/^\| `.*$/gm) ?? []
    expect(rows.find((row) => row.startsWith('| `auth.password`'))).toContain('**secret**')
    expect(rows.filter((row) => row.endsWith('|  |'))).toEqual([])
  })

  it('are out of date once a default is written by hand, and are corrected by name', () => {
    const text = readPage('docs/settings.md')
    const edited = text.replace('| `API_PORT` | 8000 |', '| `API_PORT` | 9000 |')
    expect(staleParts('docs/settings.md', edited)).toEqual(['settings'])
    expect(regenerate('docs/settings.md', edited)).toBe(text)
  })

  it('need their markers', () => {
    expect(() => staleParts('docs/settings.md', '# Settings')).toThrow('<!-- docs: settings --> is missing')
  })
})

describe('the runbook', () => {
  const text = readPage('docs/runbook.md')
  const entriesOf = (section: string) => {
    const start = text.indexOf(`\n## ${section}\n`)
    const end = text.indexOf('\n## ', start + 1)
    return [...text.slice(start, end).matchAll(/^### (.*)$/gm)].map(([, title]) => title)
  }

  it.each([
    ['Codes of deliveries', DELIVERY_CODES],
    ['Codes of the API', Object.keys(ERROR_STATUS)],
    ['Operator events', EVENT_TYPES],
  ])('has under “%s” one entry for each, and none that is unknown', (section, codes) => {
    expect(entriesOf(section)).toEqual([...codes])
  })

  it('has no other entries', () => {
    const all = text.match(/^### .*$/gm) ?? []
    expect(all).toHaveLength(DELIVERY_CODES.length + Object.keys(ERROR_STATUS).length + EVENT_TYPES.length)
  })
})

describe('what the pages name', () => {
  const paths = [
    ...ENDPOINTS.map(({ method, path }) => `${method.toUpperCase()} /api/v1${path}`),
    ...SERVICE_ENDPOINTS.map(({ method, path }) => `${method.toUpperCase()} ${path}`),
  ]

  it.each(PAGES)('calls of %s exist in the API', (page) => {
    for (const [, method, path = ''] of readPage(page).matchAll(/`(GET|POST|PUT|DELETE) (\/[^\s?`]+)/g)) {
      const full = /^\/(api|health|metrics)/.test(path) ? path : `/api/v1${path}`
      const matches = (known: string) => new RegExp(`^${known.replace(/\{\w+\}/g, '[^/]+')}$`).test(`${method} ${full}`)
      expect(paths.some(matches), `${method} ${path}`).toBe(true)
    }
  })

  it('types of docs/temporal-ui.md are those of the workflows', () => {
    const page = readPage('docs/temporal-ui.md')
    const exported = readFileSync(join(root, 'workflows/index.ts'), 'utf8').matchAll(/export \{ (.*) \}/g)
    const types = [...exported].flatMap(([, names = '']) => names.split(', '))
    const shown = [...page.matchAll(/^\| `[^|]*` \| `(\w+)` \|/gm)].map(([, type]) => type)
    expect(shown.sort()).toEqual(types.sort())
    for (const [, type] of page.matchAll(/WorkflowType = '(\w+)'/g)) expect(types).toContain(type)
  })

  it('metrics of docs/operate.md are those of the programs', async () => {
    const { registry } = createMetrics()
    // Nothing is asked of the database here.
    addScrapedGauges(registry, {} as Pool)
    addReadinessGauge(registry, async () => [])
    const known = registry.getMetricsAsArray().map(({ name }) => name)
    const rows = readPage('docs/operate.md').matchAll(/^\| `(zenia_\w+)` \|/gm)
    expect([...rows].map(([, name]) => name).sort()).toEqual(known.filter((name) => name.startsWith('zenia_')).sort())
    for (const page of PAGES) {
      for (const [name] of readPage(page).matchAll(/zenia_distribution_\w+/g)) expect(known, page).toContain(name)
    }
  })
})

describe('the log lines of docs/operate.md', () => {
  const page = readPage('docs/operate.md')
  const section = page.slice(page.indexOf('\n## Log lines\n'), page.indexOf('\n## Behind a connection pooler\n'))
  const messages = [...section.matchAll(/^\| `([^`]*)` \|/gm)].map(([, message]) => message!)
  const source = ['activities', 'api', 'db', 'temporal-config']
    .flatMap((folder) =>
      readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' }).map((file) => join(root, folder, file)),
    )
    .filter((file) => file.endsWith('.ts'))
    .map((file) => readFileSync(file, 'utf8'))
    .join('\n')

  it('are written by the programs', () => {
    expect(messages.length).toBeGreaterThan(10)
    for (const message of messages.filter((each) => each !== 'msg')) {
      // `…` stands for a value.
      const [whole, ...others] = message.split('…')
      if (others.length === 0) expect(source).toContain(`'${whole}'`)
      for (const part of [whole!, ...others].filter(({ length }) => length > 0)) expect(source).toContain(part)
    }
  })
})

describe('the text', () => {
  it.each(PAGES)('of %s links only to files and headings that exist', (page) => {
    for (const [, target = ''] of readPage(page).matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^[a-z]+:/.test(target)) continue
      const [path = '', heading] = target.split('#')
      const file = path === '' ? page : normalize(join(dirname(page), path))
      expect(existsSync(join(root, file)), `${page}: ${target}`).toBe(true)
      if (heading !== undefined) expect(anchorsOf(file), `${page}: ${target}`).toContain(heading)
    }
  })

  it.each(PAGES)('of %s names only files and scripts that exist', (page) => {
    const text = readPage(page)
    for (const [, path = ''] of text.matchAll(
      /(?<![\w/.-])((?:\.ci|activities|api|db|docs|temporal-config|test|workflows)\/[\w./-]*\w)/g,
    )) {
      expect(existsSync(join(root, path)), `${page}: ${path}`).toBe(true)
    }
    for (const [, name] of text.matchAll(/npm run ([a-z]+)/g)) expect(Object.keys(packageJson.scripts)).toContain(name)
  })

  it('of README.md is short, and leads to every page', () => {
    const readme = readPage('README.md')
    expect(readme.split('\n').length).toBeLessThanOrEqual(200)
    for (const page of PAGES.slice(1)) expect(readme).toContain(`](${page}`)
  })

  it('of docs/rules.md names every operator of a condition', () => {
    const rules = readPage('docs/rules.md')
    for (const name of OPERATOR_NAMES) expect(rules).toContain(`\`${name}\``)
  })

  it('of CHANGELOG.md has the version of package.json', () => {
    expect(readPage('CHANGELOG.md')).toContain(`\n## ${packageJson.version} `)
  })
})
