// The database as its owner sees it, for `npm run backup` and `npm run restore`: the one of DATABASE_ADMIN_URL, or the
// embedded one, which is started for them unless it runs already.
import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { type Settings, SettingsError } from '../process/settings.ts'
import { admitLogin, dropDatabase, ensureDatabase, ownerUrl } from './database.ts'
import { runningAddresses } from './lock.ts'
import { clusterFolder } from './reach.ts'
import { startStack } from './stack.ts'

export interface OwnedDatabase {
  admin_url: string
  /** Where the rows are, for messages. */
  where: string
  /** The embedded database's folder; absent for a given one. */
  data_dir?: string
  /** Deletes the whole database and creates it again; only for an embedded one. */
  renew?: () => Promise<void>
  /** Grants the application's login access, once the schema exists. */
  admit(): Promise<void>
  end(): Promise<void>
}

/** For a backup: an existing database, whether or not the service runs. */
export async function findDatabase(settings: Settings, say: (line: string) => void): Promise<OwnedDatabase> {
  if (settings.DATABASE_ADMIN_URL || settings.DATABASE_URL) return given(settings)
  const running = runningAddresses(resolve(settings.DATA_DIR))?.postgres
  if (running) return { ...embedded(running.url, settings), end: async () => {} }
  const folder = clusterFolder(join(resolve(settings.DATA_DIR), 'postgres'))
  if (!existsSync(join(folder, 'PG_VERSION'))) {
    throw new SettingsError([
      `DATA_DIR: there is no embedded database in ${settings.DATA_DIR}; set DATABASE_ADMIN_URL for another one`,
    ])
  }
  return await start('npm run backup', settings, say)
}

/** For a restore: nobody else may use the database meanwhile. It is created if it is missing. */
export async function takeDatabase(settings: Settings, say: (line: string) => void): Promise<OwnedDatabase> {
  if (settings.DATABASE_ADMIN_URL || settings.DATABASE_URL) return given(settings)
  return await start('npm run restore', settings, say)
}

function given({ DATABASE_ADMIN_URL }: Settings): OwnedDatabase {
  if (!DATABASE_ADMIN_URL) {
    throw new SettingsError(['DATABASE_ADMIN_URL: is required with DATABASE_URL: the role that owns the database'])
  }
  const { host, pathname } = new URL(DATABASE_ADMIN_URL)
  return {
    admin_url: DATABASE_ADMIN_URL,
    where: `the database ${decodeURIComponent(pathname.slice(1))} at ${host || 'the local socket'}`,
    admit: async () => {},
    end: async () => {},
  }
}

async function start(what: string, settings: Settings, say: (line: string) => void): Promise<OwnedDatabase> {
  const stack = await startStack({
    data_dir: settings.DATA_DIR,
    what,
    postgres: { port: settings.DATABASE_PORT },
    say,
  })
  try {
    const { url } = stack.postgres!
    await ensureDatabase(url, settings.DATA_DIR)
    return {
      ...embedded(url, settings),
      async renew() {
        await dropDatabase(url)
        await ensureDatabase(url, settings.DATA_DIR)
      },
      end: () => stack.stop(),
    }
  } catch (error) {
    await stack.stop()
    throw error
  }
}

function embedded(superuserUrl: string, { DATA_DIR }: Settings): Omit<OwnedDatabase, 'end'> {
  const folder = clusterFolder(join(resolve(DATA_DIR), 'postgres'))
  return {
    admin_url: ownerUrl(superuserUrl, DATA_DIR),
    where: `the embedded database of ${resolve(DATA_DIR)} (its cluster lies in ${folder})`,
    data_dir: resolve(DATA_DIR),
    admit: () => admitLogin(superuserUrl),
  }
}
