// The servers that are started here know none of our settings. Somebody who breaks into one of them, or reads its
// environment, finds no key of ours.
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { removeReachableFolder } from '../../../temporal-config/stack/reach.ts'
import { startStack } from '../../../temporal-config/stack/stack.ts'
import { startMailpit } from '../../support/receivers/mailpit.ts'
import { startMariadb } from '../../support/receivers/mariadb.ts'
import { startVersitygw } from '../../support/receivers/s3.ts'

const SECRETS = {
  ENCRYPTION_KEYS: 'k1:marker-of-the-keys',
  BOOTSTRAP_API_KEY: 'marker-of-the-api-key',
  CALLBACK_SECRET: 'whsec_marker',
  DATABASE_URL: 'postgres://u:marker@db.example/x',
  DATABASE_ADMIN_URL: 'postgres://u:marker@db.example/x',
  DISTRIBUTOR_SECRET_ACME__ERP: 'marker-of-a-credential',
  JWT_SECRET: 'marker-of-jwt',
  TEMPORAL_API_KEY: 'marker-of-temporal',
  PGPASSWORD: 'marker-of-pg',
  AWS_SECRET_ACCESS_KEY: 'marker-of-aws',
  SOMETHING_ELSE_OF_THE_OPERATOR: 'marker-of-whatever',
}
const before = { ...process.env }
beforeAll(() => void Object.assign(process.env, SECRETS))
afterAll(() => {
  for (const name of Object.keys(SECRETS)) delete process.env[name]
  Object.assign(process.env, before)
})

/** The process and all that it has started. */
function family(pid: number): number[] {
  const parents = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name): [number, number][] => {
      try {
        const stat = readFileSync(`/proc/${name}/stat`, 'utf8')
        return [[Number(name), Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1])]]
      } catch {
        return []
      }
    })
  const found = [pid]
  for (const one of found) for (const [child, parent] of parents) if (parent === one) found.push(child)
  return found
}

/** Empty for a process that has ended meanwhile. */
function environmentOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'utf8')
  } catch (error) {
    if (existsSync(`/proc/${pid}`)) throw error
    return ''
  }
}

function expectNothing(pid: number, atLeast = 1): void {
  const pids = family(pid)
  expect(pids.length).toBeGreaterThanOrEqual(atLeast)
  for (const one of pids) {
    const environment = environmentOf(one)
    expect(environment).not.toContain('marker')
    for (const name of Object.keys(SECRETS)) expect(environment).not.toContain(`${name}=`)
  }
}

it.skipIf(!existsSync('/proc/self/environ'))('the supervisor, PostgreSQL and Temporal', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'distributor-environment-'))
  const stack = await startStack({
    data_dir: dir,
    what: 'a test',
    postgres: { port: 0, durable: false },
    temporal: { port: 0, ui_port: 0, keep: false, namespace: 'default' },
    say: () => {},
  })
  try {
    // Itself, PostgreSQL with its background processes, Temporal.
    expectNothing(stack.supervisor.pid, 5)
  } finally {
    await stack.stop()
    removeReachableFolder(join(dir, 'postgres'), 'postgres')
    rmSync(dir, { recursive: true, force: true })
  }
})

it.skipIf(!existsSync('/proc/self/environ'))('the receivers of the demo', async () => {
  const started = [
    await startMailpit(),
    await startVersitygw({ access_key: 'k', secret_key: 's' }),
    await startMariadb({ user: 'u', password: 'p', database: 'd' }),
  ]
  try {
    for (const receiver of started) expectNothing(receiver.pid())
  } finally {
    for (const receiver of started) await receiver.close()
  }
})
