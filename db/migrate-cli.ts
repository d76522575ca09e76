// `npm run migrate`: brings the database of DATABASE_ADMIN_URL to the newest schema, says what it did, and ends.
// The embedded database needs none of this: `npm start` migrates it.
import { helpText, readSettings, SettingsError } from '../temporal-config/env.ts'
import { migrate } from './migrate.ts'

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
    const applied = await migrate(DATABASE_ADMIN_URL)
    for (const name of applied) console.log(`applied ${name}`)
    console.log(applied.length > 0 ? 'the schema is now up to date' : 'the schema was up to date')
    return 0
  } catch (error) {
    // A hint says what an administrator can do about a missing right (0002_roles.sql).
    const { message, hint } = error as Error & { hint?: string }
    console.error(hint ? `${message}\n${hint}` : message)
    return 1
  }
}

process.exitCode = await main()
