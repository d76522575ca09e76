// Every setting is defined here, with name, type, default, meaning and rule. This schema is the source of `--help`, of
// the table in docs/settings.md and of the errors at start. No other file reads the process's environment.
import { closest, distance } from 'fastest-levenshtein'
import ipaddr from 'ipaddr.js'
import { z } from 'zod'

/** The programs. Some settings are required by some of them only. */
export type Program = 'start' | 'api' | 'worker' | 'migrate' | 'backup' | 'restore' | 'demo' | 'bench'

/** A setting with its description, and with a text for the default if that is not a plain value. */
function setting<T extends z.ZodType>(schema: T, meaning: string, shown?: string): T {
  return schema.meta({ description: meaning, shown }) as T
}

const whole = (min: number, max: number) =>
  z
    .string()
    .regex(/^\d{1,12}$/, 'must be a whole number')
    .transform(Number)
    .pipe(z.number().min(min, `must be at least ${min}`).max(max, `must be at most ${max}`))
const port = () => whole(0, 65_535)
const postgresUrl = () =>
  z.string().refine((url) => /^postgres(ql)?:$/.test(protocolOf(url)), 'must be a URL such as postgres://user@host/db')

const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const

const settingsSchema = z.object({
  API_HOST: setting(z.string().default('127.0.0.1'), 'address on which the API listens'),
  API_PORT: setting(port().default(8000), 'port of the API; 0 picks a free one, and a port in use is an error'),
  DATABASE_URL: setting(
    postgresUrl().optional(),
    "PostgreSQL 15 or newer, with the service's login, which owns nothing and is bound by row security",
    'embedded',
  ),
  DATABASE_ADMIN_URL: setting(
    postgresUrl().optional(),
    'the role that owns the tables; only for `npm run migrate`, `npm run backup` and `npm run restore`',
    'embedded',
  ),
  WORKER_HOST: setting(z.string().default('127.0.0.1'), 'address on which the worker serves health and metrics'),
  WORKER_PORT: setting(
    port().default(8001),
    'port on which `npm run worker` serves health and metrics; 0 picks a free one',
  ),
  METRICS_PORT: setting(
    port().optional(),
    'port on WORKER_HOST on which `npm start` and `npm run api` serve `/metrics` without a key; 0 picks a free one',
    'none',
  ),
  TEMPORAL_ADDRESS: setting(
    z
      .string()
      .regex(/^[^\s/]+:\d{1,5}$/, 'must be host:port')
      .optional(),
    'any Temporal server, or Temporal Cloud; the usual settings of Temporal (TEMPORAL_API_KEY, TEMPORAL_TLS…, TEMPORAL_CONFIG_FILE) apply too',
    'embedded',
  ),
  TEMPORAL_FAIRNESS: setting(
    z.enum(['on', 'off'], 'must be on or off').default('on'),
    '`off` for a Temporal server without fairness (older than 1.29, or turned off there); priorities are then strict: a lower one waits while a higher one has work',
  ),
  TEMPORAL_NAMESPACE: setting(z.string().min(1).default('default'), 'namespace on the Temporal server'),
  DATA_DIR: setting(z.string().default('.data'), 'folder of the embedded servers'),
  TEMPORAL_CLI: setting(
    z.string().optional(),
    'the `temporal` program for the embedded server',
    'found on PATH, else fetched',
  ),
  TEMPORAL_PORT: setting(port().default(7233), 'port of the embedded Temporal; if it is in use, the next free one'),
  TEMPORAL_UI_PORT: setting(port().default(8233), 'port of its web page; if it is in use, the next free one'),
  DATABASE_PORT: setting(port().default(5433), 'port of the embedded PostgreSQL; if it is in use, the next free one'),
  BOOTSTRAP_TENANT: setting(
    z
      .string()
      .regex(/^[a-zA-Z0-9_-]{1,50}$/, 'must be 1 to 50 letters, digits, _ or -')
      .default('demo'),
    'the first tenant',
  ),
  BOOTSTRAP_API_KEY: setting(
    z
      .string()
      .regex(/^\S{24,255}$/, 'must be 24 to 255 characters without blanks')
      .optional(),
    'API key of the first tenant, at least 24 characters; a generated one is in `DATA_DIR/bootstrap-api-key`. With DATABASE_URL none is generated',
    'generated at the first start when embedded',
  ),
  ENCRYPTION_KEYS: setting(
    z.string().superRefine(checkKeys).optional(),
    'list of `id:base64`, each with 32 bytes, separated by commas; the first key encrypts, all of them decrypt',
    'generated in DATA_DIR when embedded; required otherwise',
  ),
  CALLBACK_SECRET: setting(
    z.string().refine(isWebhookSecret, 'must be whsec_ and 24 to 64 bytes in base64').optional(),
    "signs the first tenant's callbacks",
    'generated once, stored encrypted',
  ),
  EGRESS_ALLOW: setting(
    z
      .string()
      .default('')
      .transform((list) =>
        list
          .split(',')
          .map((part) => part.trim())
          .filter((part) => part !== ''),
      )
      .superRefine(checkNetworks),
    "private networks that deliveries may reach, as CIDRs separated by commas; the Distributor's own servers stay refused",
    'empty (demo: loopback)',
  ),
  MAX_BODY_BYTES: setting(
    whole(1024, 268_435_456).default(10_485_760),
    'largest request body; a larger one gets 413',
    '10485760 (10 MiB)',
  ),
  LOG_LEVEL: setting(
    z.enum(LOG_LEVELS, `must be one of ${LOG_LEVELS.join(', ')}`).default('info'),
    'least severe level of the log, which is written as JSON lines',
  ),
})

export type Settings = z.infer<typeof settingsSchema>

/** The pattern of the settings for credentials: one setting per credential. */
const ENVIRONMENT_SECRET = {
  name: 'DISTRIBUTOR_SECRET_<TENANT>__<NAME>',
  shown: 'none',
  meaning: 'a credential of that tenant: a JSON object of strings (and `allowed_hosts`, a list), or one text',
}

/** The values of these settings never appear in an error. */
const SECRET = new Set([
  'DATABASE_URL',
  'DATABASE_ADMIN_URL',
  'BOOTSTRAP_API_KEY',
  'ENCRYPTION_KEYS',
  'CALLBACK_SECRET',
])

/** Invalid settings. `lines` has one line per setting; it starts with the name and never contains a secret's value. */
export class SettingsError extends Error {
  readonly lines: string[]

  constructor(lines: string[]) {
    super(lines.join('\n'))
    this.name = 'SettingsError'
    this.lines = lines
  }
}

/**
 * Reads the settings from `env`; an empty value counts as absent. Throws `SettingsError` with a line for each setting
 * that is invalid, or that `program` requires and is missing.
 */
export function readSettings(env: NodeJS.ProcessEnv = process.env, program: Program = 'start'): Settings {
  const given: Record<string, string> = {}
  for (const name of Object.keys(settingsSchema.shape)) {
    const value = env[name]?.trim()
    if (value) given[name] = value
  }
  const parsed = settingsSchema.safeParse(given)
  const lines = parsed.success ? [] : refusals(parsed.error, given)
  lines.push(...missing(given, program))
  if (!parsed.success || lines.length > 0) throw new SettingsError(lines)
  return parsed.data
}

/** Variables of the environment that look like a misspelt setting: it would silently have no effect. */
export function misspeltSettings(env: NodeJS.ProcessEnv = process.env): string[] {
  const settings = Object.keys(settingsSchema.shape)
  return Object.keys(env).flatMap((name) => {
    if (name.length < 8 || settings.includes(name)) return []
    const near = closest(name, settings)
    return distance(name, near) <= 2 ? [`${name} is not a setting; did you mean ${near}?`] : []
  })
}

function refusals(error: z.ZodError, given: Record<string, string>): string[] {
  const lines = new Map<string, string>()
  for (const issue of error.issues) {
    const name = String(issue.path[0])
    const shown = SECRET.has(name) ? '' : ` (it is ${JSON.stringify(given[name])})`
    if (!lines.has(name)) lines.set(name, `${name}: ${issue.message}${shown}`)
  }
  return [...lines.values()]
}

/** Rules across settings: a given database requires given encryption keys. */
function missing(given: Record<string, string>, program: Program): string[] {
  const lines: string[] = []
  if (['migrate', 'backup', 'restore', 'demo'].includes(program)) return lines
  if (given.DATABASE_URL && !given.ENCRYPTION_KEYS) lines.push('ENCRYPTION_KEYS: is required with DATABASE_URL')
  return lines
}

/** Name, default and meaning of every setting, in the schema's order, for `--help` and docs/settings.md. */
export function describeSettings(): { name: string; shown: string; meaning: string }[] {
  const rows = Object.entries(settingsSchema.shape).map(([name, schema]) => {
    const meta = schema.meta() as { description: string; shown?: string }
    const parsed = schema.safeParse(undefined)
    return { name, shown: meta.shown ?? String(parsed.data ?? 'none'), meaning: meta.description }
  })
  return [...rows, ENVIRONMENT_SECRET]
}

export function helpText(program: Program, flags: Readonly<Record<string, string>> = {}): string {
  const rows = describeSettings()
  const width = Math.max(...rows.map((row) => row.name.length)) + 2
  const lines = rows.map((row) => `  ${row.name.padEnd(width)}${row.meaning} [${row.shown}]`)
  const args = Object.entries(flags).map(([name, meaning]) => `  ${name.padEnd(width)}${meaning}`)
  return [
    `npm ${program === 'start' ? 'start' : `run ${program}`}`,
    '',
    ...(args.length > 0 ? ['Arguments, after --:', ...args, ''] : []),
    'Settings (environment) [default]:',
    ...lines,
    '',
  ].join('\n')
}

/** Credentials given by the environment, `DISTRIBUTOR_SECRET_<TENANT>__<NAME>`, by their full name. */
export function environmentSecrets(env: NodeJS.ProcessEnv = process.env): Record<string, string> {
  const found: Record<string, string> = {}
  for (const [name, value] of Object.entries(env)) {
    if (name.startsWith('DISTRIBUTOR_SECRET_') && value) found[name] = value
  }
  return found
}

/** The environment variables that a server needs. */
const MACHINE = /^(PATH|HOME|USER|LOGNAME|SHELL|LANG|LANGUAGE|LC_[A-Z]+|TZ|TZDIR|TMPDIR|TMP|TEMP|LD_LIBRARY_PATH)$/
/** What a program that downloads needs in addition: its caches, and the proxy settings. */
const FETCHING =
  /^(XDG_[A-Z]+_HOME|GO[A-Z0-9]+|CGO_[A-Z_]+|SSL_CERT_(FILE|DIR)|NODE_EXTRA_CA_CERTS|https?_proxy|no_proxy|all_proxy)$/i

/**
 * The environment of a server that this program starts. It contains none of our settings, so that nobody who reads it,
 * or breaks into the server, finds our keys.
 */
export function serverEnvironment(): Record<string, string> {
  return environmentOf((name) => MACHINE.test(name))
}

/** The same for a program that downloads or builds other programs. */
export function fetchingEnvironment(): Record<string, string> {
  return environmentOf((name) => MACHINE.test(name) || FETCHING.test(name))
}

function environmentOf(isPassed: (name: string) => boolean): Record<string, string> {
  const entries = Object.entries(process.env).filter(([name, value]) => value !== undefined && isPassed(name))
  return Object.fromEntries(entries) as Record<string, string>
}

/** The whole environment, for Temporal's own settings and to search for programs. */
export function wholeEnvironment(): NodeJS.ProcessEnv {
  return process.env
}

function protocolOf(url: string): string {
  return URL.canParse(url) ? new URL(url).protocol : ''
}

function checkKeys(list: string, context: z.RefinementCtx): void {
  const ids = new Set<string>()
  for (const [index, part] of list.split(',').entries()) {
    const at = part.indexOf(':')
    const id = part.slice(0, at).trim()
    const problem =
      at < 1 || !/^[a-zA-Z0-9_-]{1,32}$/.test(id)
        ? 'must be id:base64, the id of letters, digits, _ or -'
        : Buffer.from(part.slice(at + 1), 'base64').length !== 32
          ? 'must hold 32 bytes in base64'
          : ids.has(id)
            ? 'has the id of an earlier key'
            : undefined
    if (problem) context.addIssue(`key ${index + 1} ${problem}`)
    ids.add(id)
  }
}

/** The form that Standard Webhooks gives to symmetric secrets. */
function isWebhookSecret(text: string): boolean {
  const bytes = Buffer.from(text.replace(/^whsec_/, ''), 'base64').length
  return bytes >= 24 && bytes <= 64 && /^(whsec_)?[A-Za-z0-9+/]+={0,2}$/.test(text)
}

function checkNetworks(networks: string[], context: z.RefinementCtx): void {
  for (const network of networks) {
    const valid = network.includes('/') ? ipaddr.isValidCIDR(network) : false
    if (!valid) context.addIssue(`${JSON.stringify(network)} is not a CIDR such as 10.1.0.0/16`)
  }
}
