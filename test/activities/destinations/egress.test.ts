import type { LookupAddress } from 'node:dns'
import net from 'node:net'
import { describe, expect, it } from 'vitest'
import { createEgress } from '../../../activities/destinations/network/egress.ts'

const PUBLIC = '93.184.215.14'

function resolving(...addresses: string[]): () => Promise<LookupAddress[]> {
  return async () => addresses.map((address) => ({ address, family: net.isIP(address) }))
}

const closed = createEgress({ allow: [], lookup: resolving(PUBLIC) })

describe('forbidden addresses', () => {
  it.each([
    ['metadata', '169.254.169.254'],
    ['metadata, mapped', '::ffff:169.254.169.254'],
    ['metadata, mapped in hex', '[::ffff:a9fe:a9fe]'],
    ['metadata, decimal', '2852039166'],
    ['metadata, hex', '0xa9fea9fe'],
    ['metadata, octal', '0251.0376.0251.0376'],
    ['metadata, IPv4-compatible', '::169.254.169.254'],
    ['metadata, NAT64', '64:ff9b::169.254.169.254'],
    ['metadata, local NAT64', '64:ff9b:1::a9fe:a9fe'],
    ['metadata, 6to4', '2002:a9fe:a9fe::1'],
    ['metadata, translated', '::ffff:0:169.254.169.254'],
    ['metadata over IPv6', 'fd00:ec2::254'],
    ['Azure, in a public range', '168.63.129.16'],
    ['loopback', '127.0.0.1'],
    ['loopback, short', '127.1'],
    ['loopback, hex', '0x7f.1'],
    ['loopback, octal', '017700000001'],
    ['loopback over IPv6', '::1'],
    ['unspecified', '0.0.0.0'],
    ['unspecified over IPv6', '::'],
    ['this network', '0.1.2.3'],
    ['private 10', '10.0.0.1'],
    ['private 172', '172.16.0.1'],
    ['private 192', '192.168.1.1'],
    ['carrier-grade NAT', '100.64.0.1'],
    ['link-local over IPv6', 'fe80::1'],
    ['link-local with a zone', 'fe80::1%eth0'],
    ['unique local', 'fc00::1'],
    ['site-local', 'fec0::1'],
    ['multicast', '224.0.0.1'],
    ['multicast over IPv6', 'ff02::1'],
    ['broadcast', '255.255.255.255'],
    ['reserved', '240.0.0.1'],
    ['benchmarking', '198.18.0.1'],
    ['documentation', '203.0.113.1'],
    ['documentation over IPv6', '2001:db8::1'],
    ['Teredo', '2001::1'],
    ['not given out', '4000::1'],
  ])('%s (%s), stated or resolved', async (_name, host) => {
    expect(() => closed.assertHost(host)).toThrow(expect.objectContaining({ code: 'EGRESS_DENIED', retryable: false }))
    await expect(closed.resolve(host)).rejects.toMatchObject({ code: 'EGRESS_DENIED' })
    const bare = host.replace(/^\[|\]$/g, '')
    const named = createEgress({ allow: [], lookup: resolving(bare) })
    await expect(named.resolve('name.example')).rejects.toMatchObject({ code: 'EGRESS_DENIED' })
  })

  it.each([
    'http://2130706433/',
    'http://0x7f.1/',
    'http://[::ffff:7f00:1]/',
    'http://127.1:80/',
    'http://１２７.0.0.1/',
  ])('as the host of a URL: %s', (url) => {
    expect(() => closed.assertUrl(url)).toThrow(expect.objectContaining({ code: 'EGRESS_DENIED' }))
  })

  it.each([PUBLIC, '8.8.8.8', '2606:4700::1111', '64:ff9b::808:808', '::ffff:8.8.8.8'])(
    '%s is reachable',
    async (host) => {
      expect(() => closed.assertHost(host)).not.toThrow()
      expect(await closed.resolve(host)).toHaveLength(1)
    },
  )

  it('of a name with several addresses only the permitted ones are used', async () => {
    const egress = createEgress({ allow: [], lookup: resolving('10.0.0.1', PUBLIC, '::1') })
    expect(await egress.resolve('name.example')).toEqual([{ address: PUBLIC, family: 4 }])
  })

  it('a literal address is refused at connect, where Node asks no lookup', () => {
    expect(() => closed.connect({ host: '[::ffff:169.254.169.254]', port: 80 })).toThrow(
      expect.objectContaining({ code: 'EGRESS_DENIED' }),
    )
  })

  it('a rebinding name is resolved once, and the connection goes to what was checked', async () => {
    const asked: string[] = []
    const answers = [['127.0.0.1'], ['169.254.169.254']]
    const egress = createEgress({
      allow: ['127.0.0.0/8'],
      lookup: async (host) => {
        asked.push(host)
        return (answers.shift() ?? []).map((address) => ({ address, family: 4 }))
      },
    })
    const server = net.createServer().listen(0, '127.0.0.1')
    await new Promise((resolve) => server.once('listening', resolve))
    const { port } = server.address() as net.AddressInfo
    const first = egress.connect({ host: 'rebind.example', port })
    await new Promise((resolve) => first.once('connect', resolve))
    expect(first.remoteAddress).toBe('127.0.0.1')
    expect(asked).toEqual(['rebind.example'])
    const second = egress.connect({ host: 'rebind.example', port })
    const error = await new Promise((resolve) => second.once('error', resolve))
    expect(error).toMatchObject({ code: 'EGRESS_DENIED' })
    first.destroy()
    server.close()
  })
})

describe('allowed ranges', () => {
  it('allow the addresses in them, also in the IPv6-mapped form', () => {
    const egress = createEgress({ allow: ['10.1.0.0/16', 'fd12::/16'] })
    for (const host of ['10.1.2.3', '::ffff:10.1.2.3', 'fd12::5']) expect(() => egress.assertHost(host)).not.toThrow()
    for (const host of ['10.2.0.1', 'fd13::5']) expect(() => egress.assertHost(host)).toThrow()
  })

  it.each(['169.254.169.254', '::ffff:169.254.169.254', 'fd00:ec2::254', '100.100.100.200', '168.63.129.16'])(
    'never open metadata by being wide: %s',
    (host) => {
      const wide = createEgress({ allow: ['0.0.0.0/0', '::/0'] })
      expect(() => wide.assertHost(host)).toThrow(expect.objectContaining({ code: 'EGRESS_DENIED' }))
    },
  )

  it('allow the metadata address only if they are exactly this address', () => {
    const egress = createEgress({ allow: ['169.254.169.254/32', 'fd00:ec2::254/128'] })
    for (const host of ['169.254.169.254', 'fd00:ec2::254']) expect(() => egress.assertHost(host)).not.toThrow()
  })

  it('are rejected with their text if they are not ranges', () => {
    expect(() => createEgress({ allow: ['10.0.0.0'] })).toThrow('"10.0.0.0" is not a CIDR')
  })
})

it('an unknown name is DESTINATION_UNAVAILABLE and is tried again', async () => {
  const egress = createEgress({
    allow: [],
    lookup: async () => {
      throw Object.assign(new Error('x'), { code: 'ENOTFOUND' })
    },
  })
  await expect(egress.resolve('gone.example')).rejects.toMatchObject({
    code: 'DESTINATION_UNAVAILABLE',
    retryable: true,
    message: 'the host name cannot be resolved (ENOTFOUND)',
  })
})

describe('a name', () => {
  it('that is asked for many times at once is looked up once, and again afterwards', async () => {
    const answers: (() => void)[] = []
    const egress = createEgress({
      allow: [],
      lookup: () =>
        new Promise((resolve, reject) => {
          const fails = answers.length === 0
          answers.push(() => (fails ? reject(new Error('nothing')) : resolve([{ address: PUBLIC, family: 4 }])))
        }),
    })
    const first = [1, 2, 3].map(() => egress.resolve('dead.example').catch(({ code }) => code))
    expect(answers).toHaveLength(1)
    answers[0]!()
    expect(await Promise.all(first)).toEqual(Array(3).fill('DESTINATION_UNAVAILABLE'))
    const second = egress.resolve('dead.example')
    answers[1]!()
    expect(await second).toEqual([{ address: PUBLIC, family: 4 }])
  })
})
