// The roles and the database of the embedded PostgreSQL. The owner migrates and is no superuser; the application's
// login owns nothing. The passwords are kept beside the cluster.
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import pg from 'pg'
import { kept } from './kept.ts'

export const DATABASE = 'distributor'
const OWNER = 'distributor_owner'
const LOGIN = 'distributor_login'

export interface DatabaseUrls {
  /** The login of the role that migrates. */
  admin_url: string
  /** The application's login. */
  url: string
}

/** Creates the roles and the database that are missing. A repeated call changes nothing. */
export async function ensureDatabase(superuserUrl: string, dataDir: string): Promise<DatabaseUrls> {
  const owner = password(dataDir, 'owner-password')
  const login = password(dataDir, 'login-password')
  await withClient(superuserUrl, async (client) => {
    await ensureRole(client, OWNER, owner, 'createrole')
    await ensureRole(client, LOGIN, login, 'nocreaterole')
    const { rowCount } = await client.query('select from pg_database where datname = $1', [DATABASE])
    if (rowCount === 0) await client.query(`create database ${DATABASE} owner ${OWNER}`)
  })
  return { admin_url: urlOf(superuserUrl, OWNER, owner), url: urlOf(superuserUrl, LOGIN, login) }
}

/** The application's login, for a process that did not create it. */
export function loginUrl(superuserUrl: string, dataDir: string): string {
  return urlOf(superuserUrl, LOGIN, password(dataDir, 'login-password'))
}

/** The role that owns the database, for a process that did not create it. */
export function ownerUrl(superuserUrl: string, dataDir: string): string {
  return urlOf(superuserUrl, OWNER, password(dataDir, 'owner-password'))
}

/** Deletes the database with all its data. */
export async function dropDatabase(superuserUrl: string): Promise<void> {
  await withClient(superuserUrl, (client) => client.query(`drop database if exists ${DATABASE}`))
}

function password(dataDir: string, name: string): string {
  return kept(join(dataDir, 'postgres', name), () => randomBytes(24).toString('base64url'))
}

/** After the migrations: makes the login a member of the role that has the application's rights. */
export async function admitLogin(superuserUrl: string): Promise<void> {
  await withClient(superuserUrl, (client) => client.query(`grant distributor_app to ${LOGIN}`))
}

async function ensureRole(client: pg.Client, role: string, password: string, right: string): Promise<void> {
  const { rowCount } = await client.query('select from pg_roles where rolname = $1', [role])
  const verb = rowCount === 0 ? 'create' : 'alter'
  const literal = client.escapeLiteral(password)
  await client.query(`${verb} role ${role} with login nosuperuser nobypassrls ${right} password ${literal}`)
}

function urlOf(superuserUrl: string, user: string, password: string): string {
  const url = new URL(superuserUrl)
  url.username = user
  url.password = password
  url.pathname = `/${DATABASE}`
  return url.href
}

async function withClient(url: string, work: (client: pg.Client) => Promise<unknown>): Promise<void> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    await work(client)
  } finally {
    await client.end()
  }
}
