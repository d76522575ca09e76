// `npm run migrate`: brings the database of DATABASE_ADMIN_URL to the newest schema, says what it did, and ends.
import { migrate } from './migrate.ts'

const adminUrl = process.env.DATABASE_ADMIN_URL
if (!adminUrl) {
  console.error('DATABASE_ADMIN_URL: is needed by npm run migrate: the role that owns the database')
  process.exit(1)
}
try {
  const applied = await migrate(adminUrl)
  for (const name of applied) console.log(`applied ${name}`)
  console.log(applied.length > 0 ? 'the schema is up to date' : 'the schema was up to date')
} catch (error) {
  const { message, hint } = error as Error & { hint?: string }
  console.error(hint ? `${message}\n${hint}` : message)
  process.exit(1)
}
