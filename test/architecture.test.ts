// What may import what. The tables are the architecture; a change in them is a decision, not a fix.
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'

const ROOT = fileURLToPath(new URL('..', import.meta.url))

/** A folder imports only itself and what stands above it, types included. */
const FLOORS = ['db', 'workflows', 'activities', 'api', 'temporal-config']

/** The SDK's own idiom: a workflow takes the type of the factory that makes its activities. */
const ACTIVITY_TYPES = ['activities/index.ts', 'activities/background.ts']

const OWN = /^(?:db|workflows|activities|api|temporal-config|test)\//
const NODE = /^node:/
const DATA = /^db\/(?:states|limits|clock)\.ts$/

/** What a folder imports beside what its floor allows: packages, and of the project no more than this, when it says so. */
const MAY_IMPORT: { folder: string; packages: RegExp[]; own?: RegExp[] }[] = [
  { folder: 'db', packages: [NODE, /^(?:pg|pg-copy-streams|node-pg-migrate)$/] },
  {
    folder: 'workflows',
    packages: [/^@temporalio\/(?:workflow|common)$/],
    // At run time a workflow needs nothing of ours but names.
    own: [/^workflows\//, /^db\//, /^activities\//],
  },
  {
    folder: 'activities/document',
    packages: [],
    own: [/^activities\/document\//, DATA],
  },
  {
    folder: 'activities/formats',
    packages: [/^(?:csv-stringify\/sync|lossless-json|zod)$/],
    own: [/^activities\/(?:formats|document)\//, DATA],
  },
  {
    // They know their protocol, and neither Temporal nor our tables.
    folder: 'activities/destinations',
    packages: [
      NODE,
      /^(?:zod|undici|ipaddr\.js|standardwebhooks|fastest-levenshtein|lossless-json|lru-cache)$/,
      /^(?:amqplib|postgres|mysql2(?:\/promise)?|@aws-sdk\/(?:client-s3|lib-storage)|@smithy\/[a-z-]+)$/,
      /^(?:ssh2|ssh2-sftp-client|nodemailer)$/,
    ],
    own: [/^activities\/(?:destinations|formats|document)\//, DATA],
  },
  {
    folder: 'activities/shaping',
    packages: [
      NODE,
      /^(?:zod|lossless-json|fastest-levenshtein|jsonata|esbuild|ajv(?:\/dist\/(?:20(?:19|20)|types\/index)\.js)?|ajv-formats|lru-cache)$/,
    ],
    own: [
      /^activities\/(?:shaping|formats|document)\//,
      /^activities\/destinations\/(?:errors|template\/placeholders)\.ts$/,
      // Counts slots in memory; asks no database.
      /^db\/slots\.ts$/,
      // Types of what is handed in.
      /^db\/(?:secrets|distributions\/jobs)\.ts$/,
      DATA,
    ],
  },
  {
    folder: 'activities/rules',
    // The timer lets others go on while many rules are read.
    packages: [/^(?:zod|re2js|fastest-levenshtein|lru-cache)$/, /^node:timers\/promises$/],
    own: [
      /^activities\/(?:rules|document)\//,
      // The one schema of a shape, and its paths.
      /^activities\/shaping\/(?:config|paths)\.ts$/,
      // Rows as they are read; types alone.
      /^db\/rules\//,
      DATA,
    ],
  },
  {
    folder: 'api',
    packages: [
      NODE,
      /^(?:hono|@hono|zod|pino|prom-client|swagger-ui-dist|lossless-json|fastest-levenshtein|lru-cache)/,
    ],
    // Of the activities: schemas, the guard of destinations, rules, shaping and formats, but no activity.
    own: [
      /^(?:api|db)\//,
      /^workflows\/(?:client|messages|names)\.ts$/,
      /^activities\/(?:destinations|rules|shaping|formats|document)\//,
      /^activities\/(?:metrics|schedules\/(?:cron|time-zone))\.ts$/,
    ],
  },
]

interface Import {
  file: string
  /** A path inside the project, or the name of a package. */
  target: string
  typeOnly: boolean
}

const sources = FLOORS.flatMap((folder) =>
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

const floorOf = (path: string) => FLOORS.indexOf(path.split('/')[0]!)
const written = ({ file, target }: Import) => `${file} imports ${target}`

describe('the architecture', () => {
  it('has sources to look at, and tables that name folders which exist', () => {
    expect(sources.length).toBeGreaterThan(50)
    expect(imports.length).toBeGreaterThan(200)
    for (const { folder } of MAY_IMPORT) {
      expect(
        sources.some((file) => file.startsWith(`${folder}/`)),
        folder,
      ).toBe(true)
    }
    for (const file of ACTIVITY_TYPES) expect(sources).toContain(file)
  })

  it('a folder imports only what stands above it, types included', () => {
    const upward = imports
      .filter(({ file, target }) => OWN.test(target) && (floorOf(target) > floorOf(file) || floorOf(target) < 0))
      .filter(
        ({ file, target, typeOnly }) => !(file.startsWith('workflows/') && typeOnly && ACTIVITY_TYPES.includes(target)),
      )
    expect(upward.map(written)).toEqual([])
  })

  it.each(MAY_IMPORT)(
    '$folder imports only the packages and folders that its line names',
    ({ folder, packages, own }) => {
      const others = imports
        .filter(({ file }) => file.startsWith(`${folder}/`))
        .filter(({ target }) =>
          OWN.test(target) ? own && !own.some((one) => one.test(target)) : !packages.some((one) => one.test(target)),
        )
      expect(others.map(written)).toEqual([])
    },
  )

  it('a workflow needs nothing at run time but the workflow SDK and names', () => {
    const atRunTime = imports.filter(({ file, typeOnly }) => file.startsWith('workflows/') && !typeOnly)
    const strangers = atRunTime.filter(({ target }) => OWN.test(target) && !target.startsWith('workflows/'))
    expect(strangers.map(written)).toEqual([])
  })

  it('the time of day is that of the database: only its clock, and what never leaves this machine, asks the machine', () => {
    // In workflows it is the time of Temporal's server.
    const asks = sources
      .filter(
        (file) =>
          file !== 'db/clock.ts' && !file.startsWith('workflows/') && !file.startsWith('temporal-config/stack/'),
      )
      .filter((file) => /Date\.now\b|new Date\(\)/.test(readFileSync(join(ROOT, file), 'utf8')))
    expect(asks).toEqual([])
  })

  it('workflow files hold no mutable module state', () => {
    for (const file of sources.filter((path) => path.startsWith('workflows/'))) {
      const text = readFileSync(join(ROOT, file), 'utf8')
      expect(text.match(/^(?:export )?(?:let|var)\s/gm), file).toBeNull()
      expect(text.match(/^(?:export )?const \w+ = new (?:Map|Set|Array|WeakMap)/gm), file).toBeNull()
    }
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

  it('only the settings read the environment', () => {
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
