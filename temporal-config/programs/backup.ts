// `npm run backup [FILE]`: writes all rows of the database into one file. The service can keep running.
import { createWriteStream, existsSync } from 'node:fs'
import { link, open, rm, stat } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { createGzip } from 'node:zlib'
import pg from 'pg'
import { writeBackup } from '../../db/upkeep/backup.ts'
import { runCommand } from '../process/command.ts'
import { findDatabase } from '../stack/owned-database.ts'

await runCommand({ program: 'backup', usage: '[FILE]', flags: [], words: [0, 1] }, async ({ settings, words, say }) => {
  const given = words[0] === undefined ? undefined : resolve(words[0])
  if (given && existsSync(given)) throw new Error(`${given} already exists`)
  if (given && !existsSync(dirname(given))) throw new Error(`the folder ${dirname(given)} does not exist`)
  const database = await findDatabase(settings, say)
  try {
    say(`backing up ${database.where}`)
    const { file, rows } = await writeFile(given, database.admin_url)
    const { size } = await stat(file)
    const count = Object.values(rows).reduce((sum, one) => sum + one, 0)
    console.log(`${file}: ${count} rows of ${Object.keys(rows).length} tables, ${size} bytes`)
    say(`  ${rows.tenants} tenants, ${rows.distribution_jobs} distributions, ${rows.distribution_attempts} attempts`)
    say(
      database.data_dir && !settings.ENCRYPTION_KEYS
        ? `also keep ${database.data_dir}/encryption-keys, in another place: the secrets in the backup are encrypted with these keys`
        : 'also keep ENCRYPTION_KEYS, in another place: the secrets in the backup are encrypted with these keys',
    )
  } finally {
    await database.end()
  }
})

/** Writes to a temporary name. The file gets its final name only when it is complete and on the disk. */
async function writeFile(
  given: string | undefined,
  url: string,
): Promise<{ file: string; rows: Record<string, number> }> {
  const part = `${given ?? resolve(`distributor-${process.pid}.sql.gz`)}.part`
  const client = new pg.Client({ connectionString: url, application_name: 'backup' })
  client.on('error', () => {})
  await client.connect()
  try {
    const gzip = createGzip()
    const written = pipeline(gzip, createWriteStream(part, { mode: 0o600, flags: 'wx' }))
    // Awaited below. An error before that ends the writing.
    written.catch((error: Error) => gzip.destroy(error))
    const { rows, taken_at } = await writeBackup(client, gzip)
    gzip.end()
    await written
    const handle = await open(part, 'r')
    await handle.sync()
    await handle.close()
    // Named after the time of the snapshot. A link, unlike a rename, never replaces an existing file.
    const file = given ?? resolve(`distributor-${taken_at.replace(/\D/g, '').slice(0, 14)}.sql.gz`)
    await link(part, file)
    return { file, rows }
  } finally {
    await client.end().catch(() => {})
    await rm(part, { force: true })
  }
}
