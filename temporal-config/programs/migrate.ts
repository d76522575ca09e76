// `npm run migrate`: brings the database of DATABASE_ADMIN_URL to the newest schema, says what it did, and ends.
// The embedded database needs none of this: `npm start` migrates it.
import { setTimeout as sleep } from 'node:timers/promises'
import { PROTOCOLS } from '../../activities/destinations/registry.ts'
import { isUnavailable, shortReason } from '../../db/availability.ts'
import { LIMITS } from '../../db/limits.ts'
import { migrate } from '../../db/upkeep/migrate.ts'
import { helpText, readSettings, SettingsError } from '../process/settings.ts'

async function main(): Promise<number> {
  if (process.argv.includes('--help')) {
    console.log(helpText('migrate'))
    return 0
  }
  try {
    const { DATABASE_ADMIN_URL } = readSettings(undefined, 'migrate')
    if (!DATABASE_ADMIN_URL) {
      throw new SettingsError(['DATABASE_ADMIN_URL: is required here: the role that owns the database'])
    }
    const applied = await patiently(() => migrate(DATABASE_ADMIN_URL, { protocols: PROTOCOLS }))
    for (const name of applied) console.log(`applied ${name}`)
    console.log(applied.length > 0 ? 'the schema is now up to date' : 'the schema was up to date')
    return 0
  } catch (error) {
    // A hint says what an administrator can do about a missing right (0001_extensions_and_roles.sql).
    const { message, hint } = error as Error & { hint?: string }
    console.error(hint ? `${message}\n${hint}` : message)
    return 1
  }
}

/** A migration job often starts at the same time as its database. A database that answers later than this is an error. */
async function patiently<T>(work: () => Promise<T>): Promise<T> {
  const until = performance.now() + LIMITS.migrateWaits.value
  for (let wait = 250, waiting = false; ; wait = Math.min(wait * 2, 5000)) {
    try {
      return await work()
    } catch (error) {
      if (!isUnavailable(error) || performance.now() + wait > until) throw error
      if (!waiting) console.error(`the database does not answer (${shortReason(error)}); waiting for it`)
      waiting = true
      await sleep(wait)
    }
  }
}

process.exitCode = await main()
