import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, it } from 'vitest'
import { readSettings } from '../../temporal-config/process/settings.ts'
import { takeLock } from '../../temporal-config/stack/lock.ts'
import { knownServers } from '../../temporal-config/stack/own-servers.ts'
import { identify } from '../../temporal-config/stack/processes.ts'

const DATA_DIR = mkdtempSync(join(tmpdir(), 'distributor-own-'))
afterAll(() => rmSync(DATA_DIR, { recursive: true }))

const keys = { ENCRYPTION_KEYS: `k1:${Buffer.alloc(32).toString('base64')}`, DATA_DIR }

it.each([
  ['postgres://app:pw@db.internal/distributor', { host: 'db.internal', port: 5432 }],
  ['postgresql://app@[::1]:6432/distributor', { host: '::1', port: 6432 }],
  ['postgres://app@%2Fvar%2Frun%2Fpostgresql/distributor', { host: '/var/run/postgresql', port: 5432 }],
  ['postgres://app@localhost:5444/distributor?host=/var/run/postgresql', { host: '/var/run/postgresql', port: 5444 }],
  ['postgres://app@ignored/distributor?host=10.1.2.3&port=7000', { host: '10.1.2.3', port: 7000 }],
])('the database is known by its URL as the driver reads it: %s', (url, server) => {
  const settings = readSettings({ ...keys, DATABASE_URL: url, DATABASE_ADMIN_URL: 'postgres://a@admin.internal:1/d' })
  const list = knownServers(settings, url).list()
  expect(list).toContainEqual(expect.objectContaining(server))
  expect(list).toContainEqual({ host: 'admin.internal', port: 1 })
})

it('so are Temporal, the API, the worker, and the ports that this process has taken', () => {
  const settings = readSettings({ ...keys, TEMPORAL_ADDRESS: '[fd00::7]:7233', API_HOST: '0.0.0.0', API_PORT: '0' })
  const servers = knownServers(settings, 'postgres://a@db/d')
  servers.add('http://[::1]:4711')
  expect(servers.list()).toEqual(
    expect.arrayContaining([
      { host: '[fd00::7]', port: 7233 },
      { host: '0.0.0.0', port: 0 },
      { host: '127.0.0.1', port: 8001 },
      { host: '[::1]', port: 4711 },
    ]),
  )
})

it('and what another process keeps running in DATA_DIR', async () => {
  const me = identify(process.pid)!
  const lock = await takeLock(DATA_DIR, { ...me, what: 'a test' }, me, () => {})
  lock.publish({
    postgres: { url: 'postgres://x', port: 5001 },
    temporal: { address: '127.0.0.1:5002', ui_url: 'http://127.0.0.1:5003', ports: [5002, 5004, 5005] },
  })
  const ports = knownServers(readSettings(keys), 'postgres://a@db/d')
    .list()
    .filter(({ host }) => host === 'localhost')
    .map(({ port }) => port)
  expect(new Set(ports)).toEqual(new Set([5001, 5002, 5003, 5004, 5005]))
  lock.release()
})
