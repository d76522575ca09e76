// `npm run restore FILE`: reads a backup into an empty database.
import { createReadStream, existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { createGunzip } from 'node:zlib'
import pg from 'pg'
import { PROTOCOLS } from '../../activities/destinations/registry.ts'
import { restoreBackup } from '../../db/upkeep/restore.ts'
import { runCommand } from '../process/command.ts'
import { type OwnedDatabase, takeDatabase } from '../stack/owned-database.ts'

await runCommand(
  { program: 'restore', usage: 'FILE [--replace]', flags: ['--replace'], words: [1, 1] },
  async ({ settings, words, flags, say }) => {
    const file = resolve(words[0]!)
    if (!existsSync(file)) throw new Error(`${file} does not exist`)
    const replace = flags.has('--replace')
    const database = await takeDatabase(settings, say)
    try {
      say(`restoring into ${database.where}`)
      // An embedded database is deleted and created again, so that a backup with a different schema fits.
      if (replace) await database.renew?.()
      const rows = await readFile(file, database, replace && !database.renew, say)
      await database.admit()
      const count = Object.values(rows).reduce((sum, one) => sum + one, 0)
      console.log(`${count} rows of ${Object.keys(rows).length} tables restored`)
      say(
        database.data_dir
          ? `secrets are sealed with the keys of the old DATA_DIR: put its encryption-keys into ${database.data_dir} unless ENCRYPTION_KEYS has them`
          : 'secrets are sealed with the old ENCRYPTION_KEYS: start the service with them',
      )
      say('the next start delivers what was open when the backup was made')
    } finally {
      await database.end()
    }
  },
)

async function readFile(file: string, { admin_url }: OwnedDatabase, replace: boolean, say: (line: string) => void) {
  const client = new pg.Client({ connectionString: admin_url, application_name: 'restore' })
  client.on('error', () => {})
  await client.connect()
  const source = createReadStream(file)
  const input = createGunzip()
  source.on('error', (error) => input.destroy(error)).pipe(input)
  try {
    return await restoreBackup(client, admin_url, linesOf(input), { replace, protocols: PROTOCOLS, say })
  } finally {
    source.destroy()
    await client.end().catch(() => {})
  }
}

/**
 * Splits at line feeds only, as PostgreSQL does: a text may contain other characters that `readline` takes as line
 * ends.
 */
async function* linesOf(input: AsyncIterable<Buffer>): AsyncGenerator<string> {
  let rest: Buffer[] = []
  try {
    for await (const chunk of input) {
      let from = 0
      for (let end = chunk.indexOf(0x0a); end >= 0; end = chunk.indexOf(0x0a, from)) {
        yield Buffer.concat([...rest, chunk.subarray(from, end)]).toString('utf8')
        rest = []
        from = end + 1
      }
      if (from < chunk.length) rest.push(chunk.subarray(from))
    }
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    throw code?.startsWith('Z_') ? new Error(`the file is damaged or not a backup: ${message}`) : error
  }
  if (rest.length > 0) yield Buffer.concat(rest).toString('utf8')
}
