// The databases that a URL may lead to.

import { DeliveryError } from '../errors.ts'
import type { Attempt } from '../network/deadline.ts'
import type { Egress } from '../network/egress.ts'
import type { JdbcConfig } from './config.ts'
import type { Database } from './database.ts'
import { openMysqlDatabase } from './mysql/database.ts'
import { UrlError } from './parameters.ts'
import { openPostgresDatabase } from './postgres/database.ts'
import { type JdbcTarget, parseJdbcUrl } from './url.ts'

export async function openDatabase(config: JdbcConfig, attempt: Attempt, egress: Egress): Promise<Database> {
  const target = targetOf(config.url)
  return target.kind === 'postgresql'
    ? openPostgresDatabase(config, target, attempt, egress)
    : openMysqlDatabase(config, target, attempt, egress)
}

/** A URL that was registered before a rule for it was made is refused as any other setting that is wrong. */
function targetOf(url: string): JdbcTarget {
  try {
    return parseJdbcUrl(url)
  } catch (error) {
    if (!(error instanceof UrlError)) throw error
    throw new DeliveryError('MISCONFIGURED', `the url ${error.message}`)
  }
}
