// Converts a registered destination, mainly its secrets, between the forms in requests, in rows and in responses.
import { isDeepStrictEqual } from 'node:util'
import { destinationFor, findProtocol } from '../../activities/destinations/registry.ts'
import { changedPlaces, MASK } from '../../activities/destinations/secrets/secret.ts'
import { extractLiterals, maskSecrets } from '../../activities/destinations/secrets/storage.ts'
import type { AutoDisable } from '../../db/destinations/auto-disable.ts'
import { CIRCUIT_DEFAULTS, type CircuitSettings, type CircuitState } from '../../db/destinations/circuits.ts'
import { loadCredentials, putCredential } from '../../db/destinations/credentials.ts'
import type { DestinationContent, DestinationRow } from '../../db/destinations/destinations.ts'
import type { RateLimit } from '../../db/destinations/rate-limits.ts'
import type { Db } from '../../db/pool.ts'
import { type Sealer, UnsealError } from '../../db/secrets.ts'
import type { Protocol } from '../../db/states.ts'
import type { AppDeps } from '../http/context.ts'
import { type Detail, invalid } from '../http/errors.ts'
import { shapingIssues } from '../rules/shape-check.ts'
import { shownShape, toStored } from '../rules/shape-forms.ts'
import { configurationIssues, readProtocol } from '../submission/destination-entries.ts'

export interface SentContent {
  description?: string | null | undefined
  configuration: Record<string, unknown>
  transform_config?: Record<string, unknown> | null | undefined
  health_check_config?: Record<string, unknown> | null | undefined
  circuit_breaker?: CircuitSettings | null | undefined
  auto_disable?: AutoDisable | null | undefined
  rate_limit?: RateLimit | null | undefined
  max_concurrency?: number | null | undefined
  tags?: string[] | null | undefined
  max_retries?: number | null | undefined
}

/** Throws a 400 with every problem. */
export async function checkContent(
  { egress, shaper }: Pick<AppDeps, 'egress' | 'shaper'>,
  tenantId: string,
  protocol: Protocol,
  sent: SentContent,
): Promise<void> {
  const known = readProtocol(protocol)
  if ('issue' in known) throw invalid([{ field: 'protocol', issue: known.issue }])
  const { configuration, transform_config } = sent
  const details = configurationIssues(protocol, configuration, ['configuration'], egress, { literals: true })
  const destination = { protocol, configuration }
  details.push(...(await shapingIssues(shaper, tenantId, destination, transform_config, ['transform_config'])))
  if (details.length > 0) throw invalid(details)
}

export interface OwnCredential {
  tenant_id: string
  destination_id: string
  protocol: Protocol
}

/**
 * The content to store. Plain-text secrets become references to a credential of the destination, whose new content is
 * `fields`. `present` is the row that is replaced: secrets sent as `***` keep their value. `changed` says whether anything
 * differs.
 */
export async function separateSecrets(
  db: Db,
  sealer: Sealer,
  own: OwnCredential,
  sent: SentContent,
  present?: DestinationRow,
): Promise<{ content: DestinationContent; fields: Record<string, string>; changed: boolean }> {
  const credential = ownCredentialName(own.destination_id)
  const schema = destinationFor(own.protocol).config
  const extraction = extractLiterals(schema, sent.configuration, { credential, previous: present?.configuration })
  const owner = { sealer, tenantId: own.tenant_id }
  const shape = toStored(owner, sent.transform_config ?? {}, present?.transform_config, ['transform_config'])
  const missing = extraction.missing.map(
    (path): Detail => ({ field: `configuration.${path}`, issue: 'is ***, but there is no stored secret to keep' }),
  )
  const moved =
    present && extraction.kept.length > 0 ? changedPlaces(schema, present.configuration, sent.configuration) : []
  const again = moved.length === 0 ? [] : extraction.kept.map((path) => sendAgain(path, moved))
  const details = [...missing, ...again, ...shape.details]
  if (details.length > 0) throw invalid(details)
  const before = present ? await presentFields(db, sealer, credential, extraction.kept.length > 0) : {}
  const fields: Record<string, string> = { ...extraction.secrets }
  for (const name of extraction.kept) {
    const value = before?.[name]
    if (value !== undefined) fields[name] = value
  }
  const content: DestinationContent = {
    description: sent.description ?? null,
    configuration: extraction.configuration,
    transform_config: shape.shape,
    health_check_config: sent.health_check_config ?? {},
    circuit_breaker: sent.circuit_breaker ?? null,
    auto_disable: sent.auto_disable ?? null,
    rate_limit: sent.rate_limit ?? null,
    max_concurrency: sent.max_concurrency ?? null,
    max_retries: sent.max_retries ?? null,
    tags: sent.tags ?? [],
  }
  const changed = !present || !before || !isDeepStrictEqual(fields, { ...before }) || !isKept(content, present)
  return { content, fields, changed }
}

/** Otherwise a user who does not know the secret could have it sent to another server. */
function sendAgain(path: string, moved: string[]): Detail {
  const fields = moved.map((field) => `configuration.${field}`).join(', ')
  return {
    field: `configuration.${path}`,
    issue: `must be sent again: "***" keeps a secret only for the same server, and ${fields} changed`,
  }
}

/** Null if the stored secrets cannot be decrypted and none of them is needed: sending new secrets fixes that. */
async function presentFields(
  db: Db,
  sealer: Sealer,
  credential: string,
  needed: boolean,
): Promise<Record<string, string> | null> {
  try {
    return (await loadCredentials(db, sealer, [credential])).get(credential)?.fields ?? {}
  } catch (error) {
    if (needed || !(error instanceof UnsealError)) throw error
    return null
  }
}

/** Whether the row already has this content; the order of keys does not matter. */
function isKept(content: DestinationContent, row: DestinationRow): boolean {
  const keys = Object.keys(content) as (keyof DestinationContent)[]
  return isDeepStrictEqual(JSON.parse(JSON.stringify(content)), Object.fromEntries(keys.map((key) => [key, row[key]])))
}

/** Stores the secrets encrypted; call it after the row of the destination was written. */
export async function keepSecrets(
  db: Db,
  sealer: Sealer,
  own: OwnCredential,
  fields: Record<string, string>,
  hadSome: boolean,
): Promise<void> {
  if (Object.keys(fields).length === 0 && !hadSome) return
  const { tenant_id, destination_id } = own
  await putCredential(db, sealer, {
    tenant_id,
    name: ownCredentialName(destination_id),
    fields,
    allowed_hosts: null,
    destination_id,
  })
}

/**
 * The destination with masked secrets, and the state of its circuit. For an unknown protocol every field is masked, because
 * it is unknown which fields are secret.
 */
export function shownDestination(row: DestinationRow, circuit: CircuitState) {
  const schema = findProtocol(row.protocol)?.config
  const configuration = schema ? maskSecrets(schema, row.configuration) : maskAll(row.configuration)
  const transform_config = shownShape(row.transform_config)
  return {
    ...row,
    supported: schema !== undefined,
    configuration,
    transform_config,
    circuit_breaker: { ...CIRCUIT_DEFAULTS, ...row.circuit_breaker },
    rate_limit: shownRateLimit(row.rate_limit),
    circuit,
  }
}

function maskAll(configuration: unknown): Record<string, unknown> {
  return Object.fromEntries(Object.keys(Object(configuration)).map((field) => [field, MASK]))
}

/** A stored limit may have no burst, which means 0. */
export function shownRateLimit(limit: RateLimit | null) {
  return limit && { burst: 0, ...limit }
}

function ownCredentialName(destinationId: string): string {
  return `destination.${destinationId}`
}
