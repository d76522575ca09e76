// The Distributor's own servers are never a destination, even if their addresses are allowed or spelled differently.
import type { LookupAddress } from 'node:dns'
import net from 'node:net'
import { networkInterfaces } from 'node:os'
import tls from 'node:tls'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createEgress, type Egress } from '../../../activities/destinations/network/egress.ts'
import type { OwnServer } from '../../../activities/destinations/network/own-servers.ts'
import { destinationFor } from '../../../activities/destinations/registry.ts'
import type { Protocol } from '../../../db/states.ts'
import { certificate } from '../../support/receivers/http.ts'

const EVERYTHING = ['0.0.0.0/0', '::/0', '127.0.0.0/8', '::1/128']
const NAMES: Record<string, string[]> = {
  'own.example': ['127.0.0.1'],
  'rebound.example': ['::ffff:127.0.0.1', '::1', '127.9.9.9'],
  'database.internal': ['10.9.8.7', '10.9.8.8'],
  'other.example': ['10.9.8.7'],
}
let server: net.Server
let port: number
let connections = 0

beforeAll(async () => {
  server = net.createServer((socket) => {
    connections += 1
    socket.on('error', () => {}).end()
  })
  await new Promise<void>((resolve) => server.listen(0, '::', resolve))
  port = (server.address() as net.AddressInfo).port
})
afterAll(() => server.close())

function guard(own: OwnServer[], names = NAMES): Egress {
  return createEgress({
    allow: EVERYTHING,
    own: () => own,
    lookup: async (host): Promise<LookupAddress[]> => {
      const found = names[host]
      if (!found) throw Object.assign(new Error('x'), { code: 'ENOTFOUND' })
      return found.map((address) => ({ address, family: net.isIP(address) }))
    },
  })
}

async function outcome(egress: Egress, host: string, to = port): Promise<string> {
  let socket: net.Socket
  try {
    socket = egress.connect({ host, port: to })
  } catch (error) {
    return (error as { code: string }).code
  }
  return await new Promise((resolve) => {
    socket.once('connect', () => resolve('connected'))
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message))
  }).then((answer) => {
    socket.destroy()
    return answer as string
  })
}

const mine = Object.values(networkInterfaces()).flatMap((each = []) =>
  each.filter(({ family, internal }) => family === 'IPv4' && !internal).map(({ address }) => address),
)

describe('a server of the Distributor itself', () => {
  const local = ['127.0.0.1', 'localhost', '::1', '0.0.0.0', '127.0.0.5', '/var/run/postgresql', '', ...mine]

  it.each(local)('that listens at "%s" is reached by no spelling of this machine', async (host) => {
    const egress = guard([{ host, port }])
    const spellings = [
      ...['127.0.0.1', '127.1', '0x7f.1', '2130706433', '017700000001', '127.0.0.2', '0.0.0.0', '0'],
      ...['[::1]', '::1', '0:0:0:0:0:0:0:1', '::', '[::ffff:127.0.0.1]', '::ffff:7f00:1', '64:ff9b::127.0.0.1'],
      ...['localhost', 'LOCALHOST.', 'a.localhost', 'own.example', 'rebound.example', ...mine],
    ]
    const before = connections
    for (const spelling of spellings)
      expect([spelling, await outcome(egress, spelling)]).toEqual([spelling, 'EGRESS_DENIED'])
    expect(connections).toBe(before)
  })

  it('leaves all other ports of this machine alone', async () => {
    const egress = guard([{ host: '127.0.0.1', port: port === 1 ? 2 : 1 }])
    for (const host of ['127.0.0.1', 'own.example', '::1']) {
      expect([host, await outcome(egress, host)]).toEqual([host, 'connected'])
    }
  })

  it('elsewhere is denied by its address, its name, and every other name that leads there', async () => {
    const egress = guard([{ host: 'database.internal', port: 5432 }])
    for (const host of ['database.internal', '10.9.8.7', '10.9.8.8', 'other.example', '::ffff:10.9.8.8']) {
      expect([host, await outcome(egress, host, 5432)]).toEqual([host, 'EGRESS_DENIED'])
    }
  })

  it('that has moved is denied at its old address too', async () => {
    const names: Record<string, string[]> = { 'database.internal': ['10.9.8.7'] }
    const egress = guard([{ host: 'database.internal', port: 5432 }], names)
    expect(await outcome(egress, '10.9.8.7', 5432)).toBe('EGRESS_DENIED')
    names['database.internal'] = ['10.9.8.9']
    expect(await outcome(egress, '10.9.8.9', 5432)).toBe('EGRESS_DENIED')
    expect(await outcome(egress, '10.9.8.7', 5432)).toBe('EGRESS_DENIED')
    delete names['database.internal']
    expect(await outcome(egress, '10.9.8.9', 5432)).toBe('EGRESS_DENIED')
  })

  it('whose name has never been resolved blocks its port at all addresses, as DESTINATION_UNAVAILABLE', async () => {
    const egress = guard([{ host: 'gone.internal', port }])
    expect(await outcome(egress, '127.0.0.1')).toBe('DESTINATION_UNAVAILABLE')
    expect(await outcome(egress, 'own.example')).toBe('DESTINATION_UNAVAILABLE')
  })

  it('elsewhere leaves other addresses with the same port alone', async () => {
    const egress = guard([{ host: 'database.internal', port }])
    expect(await outcome(egress, '127.0.0.1')).toBe('connected')
    expect(await outcome(egress, '[::1]')).toBe('connected')
    expect(await outcome(egress, 'own.example')).toBe('connected')
  })

  it('elsewhere does not change for which name a certificate is checked', async () => {
    const secure = tls.createServer({ key: certificate('server.key'), cert: certificate('server.pem') }, (socket) =>
      socket.on('error', () => {}).end(),
    )
    secure.on('tlsClientError', () => {})
    await new Promise<void>((resolve) => secure.listen(0, '0.0.0.0', resolve))
    const { port } = secure.address() as net.AddressInfo
    const egress = guard([{ host: 'database.internal', port }])
    const ca = certificate('ca.pem')
    const ends = (host: string, more: tls.ConnectionOptions = {}) =>
      new Promise((resolve) => {
        const socket = egress.connect({ host, port, tls: { ca, ...more } })
        socket.once('secureConnect', () => resolve('secure'))
        socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code))
      })
    expect(await ends('127.0.0.1')).toBe('secure')
    expect(await ends('127.0.0.2')).toBe('ERR_TLS_CERT_ALTNAME_INVALID')
    expect(await ends('own.example')).toBe('ERR_TLS_CERT_ALTNAME_INVALID')
    expect(await ends('own.example', { servername: 'receiver.example' })).toBe('secure')
    expect(await ends('127.0.0.2', { servername: 'receiver.example' })).toBe('secure')
    secure.close()
  })

  it('is asked for at each connection, for it may come up later', async () => {
    const own: OwnServer[] = []
    const egress = guard(own)
    expect(await outcome(egress, '127.0.0.1')).toBe('connected')
    own.push({ host: '127.0.0.1', port })
    expect(await outcome(egress, '127.0.0.1')).toBe('EGRESS_DENIED')
  })
})

const login = { username: 'u', password: 'p' }

describe('no protocol reaches one', () => {
  it.each<[Protocol, (port: number) => Record<string, unknown>]>([
    ['REST', (port) => ({ endpoint: `http:127.1:${port}/` })],
    ['REST', (port) => ({ endpoint: `https://own.example:${port}/` })],
    [
      'REST',
      (port) => ({
        endpoint: 'https://receiver.example/',
        auth: { type: 'oauth2', client_id: 'c', client_secret: 's', token_url: `http://[::1]:${port}/` },
      }),
    ],
    ['AMQP', (port) => ({ ...login, host: '0x7f.1', port, security: 'none', queue: 'q' })],
    [
      'JDBC',
      (port) => ({ ...login, url: `jdbc:postgresql://[::ffff:127.0.0.1]:${port}/d?sslmode=disable`, table: 't' }),
    ],
    ['JDBC', (port) => ({ ...login, url: `jdbc:mysql://own.example:${port}/d?sslMode=DISABLED`, table: 't' })],
    [
      'S3',
      (port) => ({
        endpoint: `http://127.0.0.1:${port}`,
        bucket: 'bucket',
        key: 'k',
        access_key_id: 'a',
        secret_access_key: 's',
      }),
    ],
    ['SFTP', (port) => ({ ...login, host: '127.0.0.1', port, host_key: 'any', path: 'x' })],
    ['EMAIL', (port) => ({ host: 'own.example', port, security: 'none', from: 'a@b.example', to: ['c@d.example'] })],
  ])('%s', async (protocol, configuration) => {
    const destination = destinationFor(protocol)
    const config = destination.config.parse(configuration(port)) as never
    const egress = guard([{ host: '127.0.0.1', port }])
    const message = {
      tenant_id: 'acme',
      distribution_id: 'dist_1',
      data_type: 'report',
      delivery_id: 'd-1',
      attempt_number: 1,
      body: Buffer.from('[{"a": 1}]'),
      content_type: 'application/json',
      compression: 'none' as const,
    }
    const before = connections
    const signal = new AbortController().signal
    await expect(destination.deliver(config, message, signal, { egress })).rejects.toMatchObject({
      code: 'EGRESS_DENIED',
    })
    await expect(destination.probe(config, signal, { egress })).rejects.toMatchObject({ code: 'EGRESS_DENIED' })
    expect(connections).toBe(before)
  })
})
