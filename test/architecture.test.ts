// What may import what. The tables are the architecture; a change in them is a decision, not a fix.
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const FOLDERS = ['workflows', 'activities', 'api', 'db', 'temporal-config']

interface Import {
  file: string
  /** A path inside the project, or the name of a package. */
  target: string
  typeOnly: boolean
}

const sources = FOLDERS.flatMap((folder) =>
  readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts'))
    .map((file) => join(folder, file)),
)

const imports: Import[] = sources.flatMap((file) => {
  const text = readFileSync(join(ROOT, file), 'utf8')
  const statements = text.matchAll(/^(?:import|export)\s+(type\s)?[^'"()=]*?from\s+'([^']+)'|^import\s+'([^']+)'/gm)
  return [...statements].map(([, type, from, bare]) => {
    const target = (from ?? bare)!
    return {
      file,
      typeOnly: type !== undefined,
      target: target.startsWith('.') ? normalize(join(dirname(file), target)) : target,
    }
  })
})

/** Imports of files below `folder` that are in no line of `allowed`; types may come from anywhere. */
function strangers(folder: string, allowed: RegExp[], but: string[] = []): string[] {
  return imports
    .filter(({ file, typeOnly }) => file.startsWith(folder) && !typeOnly && !but.some((path) => file.startsWith(path)))
    .filter(({ target }) => !allowed.some((pattern) => pattern.test(target)))
    .map(({ file, target }) => `${file} imports ${target}`)
}

const NODE = /^node:/

describe('the architecture', () => {
  it('has sources to look at', () => {
    expect(sources.length).toBeGreaterThan(50)
    expect(imports.length).toBeGreaterThan(200)
  })

  it('FIELD-REPORT 28: workflows import nothing but the workflow SDK and pure names', () => {
    expect(
      strangers('workflows/', [/^@temporalio\/(workflow|common)$/, /^workflows\//, /^temporal-config\/names\.ts$/]),
    ).toEqual([])
    expect(strangers('workflows/names.ts', [])).toEqual([])
  })

  it('the time of day is the database’s: only the clock, and what never leaves this machine, asks the machine', () => {
    const asks = sources
      .filter((file) => !/^db\/clock\.ts$|^temporal-config\/(stack|demo|receivers)\//.test(file))
      .filter((file) => /Date\.now\b|new Date\(\)/.test(readFileSync(join(ROOT, file), 'utf8')))
    expect(asks).toEqual([])
  })

  it('FIELD-REPORT 27: workflow files hold no mutable module state', () => {
    for (const file of sources.filter((path) => path.startsWith('workflows/'))) {
      const text = readFileSync(join(ROOT, file), 'utf8')
      expect(text.match(/^(?:export )?(?:let|var)\s/gm), file).toBeNull()
      expect(text.match(/^(?:export )?const \w+ = new (?:Map|Set|Array|WeakMap)/gm), file).toBeNull()
    }
  })

  it('destinations know their protocol, and neither Temporal nor our tables', () => {
    expect(
      strangers('activities/destinations/', [
        NODE,
        /^activities\/(destinations|formats)\//,
        /^db\/(states|limits|clock)\.ts$/,
        /^(zod|undici|ipaddr\.js|standardwebhooks|jsonc-parser|fastest-levenshtein)$/,
        /^(amqplib|postgres|mysql2(\/promise)?|@aws-sdk\/(client-s3|lib-storage)|@smithy\/[a-z-]+)$/,
        /^(ssh2|ssh2-sftp-client|nodemailer|lossless-json)$/,
      ]),
    ).toEqual([])
  })

  it('formats know documents, and how one asks for them', () => {
    const allowed = [
      /^activities\/formats\//,
      /^db\/limits\.ts$/,
      /^(csv-stringify\/sync|jsonc-parser|lossless-json|zod)$/,
    ]
    expect(strangers('activities/formats/', allowed)).toEqual([])
  })

  it('rules are pure', () => {
    expect(
      strangers('activities/rules/', [
        /^activities\/rules\//,
        /^activities\/formats\/(json-scan|turns)\.ts$/,
        // The one schema of a shape, and its paths.
        /^activities\/shaping\/(config|paths)\.ts$/,
        /^db\/(states|limits|clock)\.ts$/,
        /^(zod|re2js|jsonc-parser|fastest-levenshtein)$/,
        // Lets others go on while many rules are read.
        /^node:timers\/promises$/,
      ]),
    ).toEqual([])
  })

  it('db imports drivers, and nothing of the layers above', () => {
    expect(
      strangers(
        'db/',
        [NODE, /^db\//, /^(pg|pg-copy-streams|node-pg-migrate)$/],
        ['temporal-config/programs/migrate.ts'],
      ),
    ).toEqual([])
  })

  it('shaping knows documents, and neither Temporal nor our tables', () => {
    expect(
      strangers('activities/shaping/', [
        NODE,
        /^activities\/(shaping|formats)\//,
        /^activities\/destinations\/(errors|placeholders)\.ts$/,
        /^db\/limits\.ts$/,
        /^(zod|lossless-json|fastest-levenshtein|jsonata|esbuild|ajv(\/dist\/20(19|20)\.js)?|ajv-formats)$/,
      ]),
    ).toEqual([])
  })

  it('the API reaches into no activities, but for schemas, the guard of destinations, rules, shaping and formats', () => {
    const ours = imports.filter(({ file, typeOnly }) => file.startsWith('api/') && !typeOnly)
    const reached = ours.filter(({ target }) => target.startsWith('activities/'))
    for (const { target } of reached) expect(target).toMatch(/^activities\/(destinations|rules|shaping|formats)\//)
    expect(ours.filter(({ target }) => target.startsWith('workflows/') && target !== 'workflows/messages.ts')).toEqual(
      [],
    )
  })

  it('only the programs that are started import the API', () => {
    const importers = imports.filter(({ file, target }) => target.startsWith('api/') && !file.startsWith('api/'))
    for (const { file } of importers) expect(file).toMatch(/^temporal-config\/(start|api-process|single)\b/)
  })

  it('no files import each other in a circle, types included', () => {
    const from = new Map<string, string[]>()
    for (const { file, target } of imports) from.set(file, [...(from.get(file) ?? []), target])
    const done = new Set<string>()
    const circleFrom = (file: string, path: string[]): string[] | undefined => {
      if (path.includes(file)) return [...path.slice(path.indexOf(file)), file]
      if (done.has(file)) return undefined
      for (const target of from.get(file) ?? []) {
        const circle = circleFrom(target, [...path, file])
        if (circle) return circle
      }
      done.add(file)
      return undefined
    }
    expect(sources.flatMap((file) => circleFrom(file, []) ?? [])).toEqual([])
  })

  it('only env.ts reads the environment', () => {
    for (const file of sources.filter((path) => path !== 'temporal-config/process/settings.ts')) {
      expect(readFileSync(join(ROOT, file), 'utf8'), file).not.toMatch(/process\.env\b/)
    }
  })

  it('SQL on our tables lives in db/ alone', () => {
    for (const file of sources.filter((path) => !path.startsWith('db/'))) {
      expect(readFileSync(join(ROOT, file), 'utf8'), file).not.toMatch(
        /\b(?:insert into|update|delete from|from)\s+(?:distribution_|destinations\b|tenants\b|api_keys|credentials\s|audit_log)/,
      )
    }
  })
})
