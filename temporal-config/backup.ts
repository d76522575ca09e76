// `npm run backup [FILE]`: writes all rows of the database into one file, while the service goes on.
import { once } from 'node:events'
import { createWriteStream, existsSync } from 'node:fs'
import { open, rename, rm, stat } from 'node:fs/promises'
import { resolve } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { createGzip } from 'node:zlib'
import pg from 'pg'
import { writeBackup } from '../db/backup.ts'
import { runCommand } from './command.ts'
import { findDatabase } from './owned-database.ts'

await runCommand({ program: 'backup', usage: '[FILE]', flags: [], words: [0, 1] }, async ({ settings, words, say }) => {
  const file = resolve(words[0] ?? `distributor-${new Date().toISOString().replace(/\D/g, '').slice(0, 14)}.sql.gz`)
  if (existsSync(file)) throw new Error(`${file} is there already`)
  const database = await findDatabase(settings, say)
  try {
    say(`backing up ${database.where}`)
    const rows = await writeFile(file, database.admin_url)
    const { size } = await stat(file)
    const count = Object.values(rows).reduce((sum, one) => sum + one, 0)
    console.log(`${file}: ${count} rows of ${Object.keys(rows).length} tables, ${size} bytes`)
    say(`  ${rows.tenants} tenants, ${rows.distribution_jobs} distributions, ${rows.distribution_attempts} attempts`)
    say(
      database.data_dir && !settings.ENCRYPTION_KEYS
        ? `keep ${database.data_dir}/encryption-keys with it, in another place: secrets in the backup are sealed with these keys`
        : 'keep ENCRYPTION_KEYS with it, in another place: secrets in the backup are sealed with these keys',
    )
  } finally {
    await database.end()
  }
})

/** Whole, or not at all: the file has its name only when everything is in it and on the disk. */
async function writeFile(file: string, url: string): Promise<Record<string, number>> {
  const part = `${file}.part`
  const client = new pg.Client({ connectionString: url, application_name: 'backup' })
  client.on('error', () => {})
  await client.connect()
  try {
    const gzip = createGzip()
    const written = pipeline(gzip, createWriteStream(part, { mode: 0o600, flags: 'wx' }))
    // Awaited below; an error meanwhile ends the writing.
    written.catch((error: Error) => gzip.destroy(error))
    const rows = await writeBackup(client, gzip)
    gzip.end()
    await once(gzip, 'end').catch(() => {})
    await written
    const handle = await open(part, 'r')
    await handle.sync()
    await handle.close()
    await rename(part, file)
    return rows
  } finally {
    await client.end().catch(() => {})
    await rm(part, { force: true })
  }
}
