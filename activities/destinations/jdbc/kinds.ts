// The databases that a URL may lead to.
import type { Attempt } from '../deadline.ts'
import type { Egress } from '../egress.ts'
import type { JdbcConfig } from './config.ts'
import type { Database } from './database.ts'
import { openMysqlDatabase } from './mysql/database.ts'
import { openPostgresDatabase } from './postgres/database.ts'
import { parseJdbcUrl } from './url.ts'

export function openDatabase(config: JdbcConfig, attempt: Attempt, egress: Egress): Promise<Database> {
  const target = parseJdbcUrl(config.url)
  return target.kind === 'postgresql'
    ? openPostgresDatabase(config, target, attempt, egress)
    : openMysqlDatabase(config, target, attempt, egress)
}
