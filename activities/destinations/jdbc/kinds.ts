// The supported databases.

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

/** Reads a stored URL. One that is no longer valid is MISCONFIGURED, like any other wrong setting. */
function targetOf(url: string): JdbcTarget {
  try {
    return parseJdbcUrl(url)
  } catch (error) {
    if (!(error instanceof UrlError)) throw error
    throw new DeliveryError('MISCONFIGURED', `the url ${error.message}`)
  }
}
