// JSON lines. Fields with one of the names below are left out of the line, at the top and up to three levels deep.
// Payloads are never passed to a logger.
import pino from 'pino'

export type Logger = pino.Logger

const SECRET_NAMES = [
  'authorization',
  'Authorization',
  'cookie',
  'Cookie',
  '["x-api-key"]',
  '["X-API-Key"]',
  '["proxy-authorization"]',
  '["webhook-signature"]',
  'api_key',
  'apiKey',
  'password',
  'passphrase',
  'secret',
  'client_secret',
  'access_token',
  'token',
  'private_key',
  'key_pem',
  'credentials',
  'connectionString',
  'payload',
  'payload_bytes',
]

/** A logger of level `level` whose lines carry `name`, an ISO time and the level's name. */
export function createLogger(level: string, name: string, destination?: pino.DestinationStream): Logger {
  return pino(
    {
      level,
      name,
      base: { pid: process.pid },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      redact: { paths: SECRET_NAMES.flatMap(atEveryDepth), censor: '[redacted]' },
      serializers: { err: withoutForeignFields, error: withoutForeignFields },
    },
    destination ?? pino.destination({ dest: 1, sync: true }),
  )
}

function atEveryDepth(name: string): string[] {
  const dotted = name.startsWith('[') ? name : `.${name}`
  return [name, `*${dotted}`, `*.*${dotted}`, `*.*.*${dotted}`]
}

/**
 * An error as type, code, message and stack, with its causes. Other fields are left out: client libraries add whole
 * configurations and requests, including passwords, to their errors.
 */
function withoutForeignFields(error: unknown): unknown {
  if (!(error instanceof Error)) return error
  const { code, cause } = error as Error & { code?: unknown }
  return {
    type: error.name,
    ...(typeof code === 'string' || typeof code === 'number' ? { code } : {}),
    message: masked(error.message),
    stack: error.stack === undefined ? undefined : masked(error.stack),
    ...(cause === undefined ? {} : { cause: withoutForeignFields(cause) }),
  }
}

/** Messages of client libraries often contain passwords in URLs, and authorization headers. */
function masked(text: string): string {
  return text
    .replace(/(\/\/[^\s:/@]*:)[^\s@/]+@/g, '$1***@')
    .replace(/\b(bearer|basic)\s+[A-Za-z0-9+/._~=-]{6,}/gi, '$1 ***')
}
