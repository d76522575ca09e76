// The protocols with sessions, on real servers: a session that is used again has as many listeners as after its first uses.
import type { Socket } from 'node:net'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { createEgress } from '../../../activities/destinations/network/egress.ts'
import { destinationFor } from '../../../activities/destinations/registry.ts'
import type { Protocol } from '../../../db/states.ts'
import { startDatabase, type TestDatabaseServer } from '../../support/receivers/databases.ts'
import { describeWith, INSTALL_MS } from '../../support/receivers/needs.ts'
import { type Site, startSix } from '../../support/six.ts'
import { aMessage, never, SECRET } from './contract.ts'

const describe = await describeWith('rabbitmq', 'sshd', 'mailpit', 'versitygw', 'mariadb')

describe('one session for many deliveries has one listener for each end of it', () => {
  let sites: Site[]
  let mariadb: TestDatabaseServer
  beforeAll(async () => {
    ;[sites, mariadb] = await Promise.all([startSix(), startDatabase('MariaDB', { password: SECRET })])
  }, INSTALL_MS)
  afterAll(() => Promise.all([...sites.map((site) => site.close()), mariadb.close()]))

  async function sendFifty(protocol: Protocol, configuration: Record<string, unknown>): Promise<number> {
    const warnings: Error[] = []
    const warned = (warning: Error) => void (warning.name.startsWith('MaxListeners') && warnings.push(warning))
    process.on('warning', warned)
    const sockets: Socket[] = []
    const inner = createEgress({ allow: ['127.0.0.0/8'] })
    const egress = {
      ...inner,
      connect(to: Parameters<typeof inner.connect>[0]) {
        const socket = inner.connect(to)
        sockets.push(socket)
        return socket
      },
    }
    const destination = destinationFor(protocol)
    const config = destination.config.parse(configuration) as never
    const body = Buffer.from(
      '{"report_id": "r", "period": "p", "rows": [{"service": "a", "requests": 1, "fees": 1.5}]}',
    )
    let before = {}
    for (let count = 1; count <= 50; count++) {
      await destination.deliver(config, aMessage({ delivery_id: crypto.randomUUID(), body }), never, { egress })
      if (count === 2) before = listeners(sockets.at(-1)!)
    }
    expect(listeners(sockets.at(-1)!)).toEqual(before)
    // Warnings are told in a turn of their own.
    await new Promise((resolve) => setTimeout(resolve, 10))
    process.off('warning', warned)
    expect(warnings).toEqual([])
    return sockets.length
  }

  it.each(['AMQP', 'JDBC', 'SFTP', 'EMAIL'] as const)('%s', async (protocol) => {
    const site = sites.find((each) => each.protocol === protocol)!
    expect(await sendFifty(protocol, { ...site.configuration(), ...site.credential })).toBe(1)
  })

  it('JDBC, with MariaDB', async () => {
    await mariadb.ask('create table t (report_id varchar(10), period varchar(10))')
    const configuration = { url: mariadb.url(), username: mariadb.user, password: SECRET, table: 't' }
    const columns = { report_id: 'report_id', period: 'period' }
    expect(await sendFifty('JDBC', { ...configuration, columns })).toBe(1)
  })

  it('S3, where each request has a connection of its own', async () => {
    const site = sites.find((each) => each.protocol === 'S3')!
    expect(await sendFifty('S3', { ...site.configuration(), ...site.credential })).toBe(50)
  })
})

function listeners(socket: Socket): Record<string, number> {
  return Object.fromEntries(socket.eventNames().map((name) => [String(name), socket.listenerCount(name)]))
}
