// The servers that both sides share: the embedded PostgreSQL, and a Temporal server of either kind.
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { join, resolve } from 'node:path'
import pg from 'pg'
import { migrate } from '../../db/upkeep/migrate.ts'
import { admitLogin, ensureDatabase } from '../../temporal-config/stack/database.ts'
import { removeReachableFolder } from '../../temporal-config/stack/reach.ts'
import { startStack } from '../../temporal-config/stack/stack.ts'
import { type FullServer, startFullServer } from './full-server.ts'
import type { BenchOptions } from './options.ts'
import { childOf, type Roots } from './processor-time.ts'

export interface Servers {
  /** Of this run alone; gone at its end. */
  folder: string
  temporal_address: string
  /** The application's login. */
  database_url: string
  /** The superuser, in the product's database. */
  superuser_url: string
  /** By name, where the system tells. */
  processes: Roots
  close(): Promise<void>
}

/** `dataDir` is the folder below which this run gets its own. */
export async function startServers(
  which: BenchOptions['server'],
  dataDir: string,
  say: (line: string) => void,
): Promise<Servers> {
  mkdirSync(dataDir, { recursive: true, mode: 0o711 })
  const folder = mkdtempSync(join(resolve(dataDir), 'bench-'))
  const stack = await startStack({
    data_dir: folder,
    what: 'npm run bench',
    postgres: { port: 0 },
    ...(which === 'dev'
      ? { temporal: { cli: process.env.TEMPORAL_CLI, port: 0, namespace: 'default', keep: true } }
      : {}),
    say,
  })
  const closing: (() => Promise<void>)[] = [
    async () => {
      await stack.stop()
      removeReachableFolder(join(folder, 'postgres'), 'postgres')
      rmSync(folder, { recursive: true, force: true })
    },
  ]
  const close = async () => {
    for (const one of closing.splice(0).reverse()) await one()
  }
  try {
    const superuser = stack.postgres!.url
    const { url, admin_url } = await ensureDatabase(superuser, folder)
    await migrate(admin_url)
    await admitLogin(superuser)
    let full: FullServer | undefined
    if (!stack.temporal) {
      full = await startFullServer(superuser, join(folder, 'temporal'), say)
      closing.push(full.stop)
    }
    const postgres = childOf(stack.supervisor.pid, /postgres/)
    const temporal = full?.pid ?? childOf(stack.supervisor.pid, /start-dev/)
    return {
      folder,
      temporal_address: full?.address ?? stack.temporal!.address,
      database_url: url,
      superuser_url: Object.assign(new URL(superuser), { pathname: new URL(url).pathname }).href,
      processes: { ...(postgres ? { postgres } : {}), ...(temporal ? { temporal } : {}) },
      close,
    }
  } catch (error) {
    await close()
    throw error
  }
}

/** One connection of the superuser, to count and to check with. */
export async function connectSuperuser(servers: Servers): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: servers.superuser_url, application_name: 'bench' })
  await client.connect()
  return client
}
