// The target of an inline destination: what its limits, its circuit and its share of slots are counted by.
import { describe, expect, it } from 'vitest'
import { targetOf } from '../../../activities/destinations/network/target.ts'
import { destinationFor, inlineTarget } from '../../../activities/destinations/registry.ts'
import type { Protocol } from '../../../db/states.ts'

const login = { username: { secret: 'c.username' }, password: { secret: 'c.password' } }
const amqp = { ...login, queue: 'q' }
const email = { from: 'a@b.example', to: ['c@d.example'] }
const jdbc = { ...login, table: 't' }
const s3 = {
  bucket: 'bucket',
  key: 'k',
  access_key_id: { secret: 'c.access_key_id' },
  secret_access_key: { secret: 'c.secret_access_key' },
}
const sftp = { ...login, host_key: 'any', path: '/in/{delivery_id}' }

describe('the target of an inline destination', () => {
  it.each<[string, string]>([
    ['https://Receiver.example./a?b=c', 'REST://receiver.example:443'],
    ['https://receiver.example...', 'REST://receiver.example:443'],
    ['HTTPS://RECEIVER.EXAMPLE:443/', 'REST://receiver.example:443'],
    ['http://receiver.example/{payload.id}', 'REST://receiver.example:80'],
    ['http:receiver.example/', 'REST://receiver.example:80'],
    ['http:/receiver.example/', 'REST://receiver.example:80'],
    ['http:///receiver.example/', 'REST://receiver.example:80'],
    ['http:////receiver.example/{payload.id}', 'REST://receiver.example:80'],
    ['http:receiver.example:0080/', 'REST://receiver.example:80'],
    ['http:%72eceiver.example', 'REST://receiver.example:80'],
    ['http://bücher.example/', 'REST://xn--bcher-kva.example:80'],
    ['http://xn--bcher-kva.example:80/', 'REST://xn--bcher-kva.example:80'],
    ['http://ｒeceiver。example/', 'REST://receiver.example:80'],
    ['http:127.0.0.1:8080/', 'REST://127.0.0.1:8080'],
    ['http://127.1:8080/', 'REST://127.0.0.1:8080'],
    ['http://0x7f.1:8080/', 'REST://127.0.0.1:8080'],
    ['http://017700000001:8080', 'REST://127.0.0.1:8080'],
    ['http:2130706433:8080', 'REST://127.0.0.1:8080'],
    ['http://127.0.0.1.:8080/', 'REST://127.0.0.1:8080'],
    ['http://[::ffff:127.0.0.1]:8080/', 'REST://127.0.0.1:8080'],
    ['http://[::1]:8080/', 'REST://[::1]:8080'],
    ['http://[0:0:0:0:0:0:0:1]:8080/', 'REST://[::1]:8080'],
  ])('of REST is the server that is connected to, however the URL is written: %s', (endpoint, target) => {
    expect(destinationFor('REST').config.safeParse({ endpoint }).success).toBe(true)
    expect(inlineTarget('REST', { endpoint })).toBe(target)
  })

  it.each<[Protocol, Record<string, unknown>, string]>([
    ['S3', { ...s3, endpoint: 'http://127.0.0.1:9000', region: 'eu-1' }, 'S3://127.0.0.1:9000'],
    ['S3', { ...s3, endpoint: 'http:STORE.example./' }, 'S3://store.example:80'],
    ['S3', { ...s3, region: 'EU-central-1' }, 'S3://s3.eu-central-1.amazonaws.com:443'],
    ['S3', s3, 'S3://s3.us-east-1.amazonaws.com:443'],
    ['JDBC', { ...jdbc, url: 'jdbc:postgresql://db.example/reports?sslmode=disable' }, 'JDBC://db.example:5432'],
    ['JDBC', { ...jdbc, url: 'JDBC:PostgreSQL://DB.example.:05432/reports' }, 'JDBC://db.example:5432'],
    ['JDBC', { ...jdbc, url: 'jdbc:mariadb://db.example:3307/reports' }, 'JDBC://db.example:3307'],
    ['JDBC', { ...jdbc, url: 'jdbc:mysql://[::1]/reports' }, 'JDBC://[::1]:3306'],
    ['JDBC', { ...jdbc, url: 'jdbc:mysql://0x7f.1/reports' }, 'JDBC://127.0.0.1:3306'],
    ['AMQP', { ...amqp, host: 'rabbit.example', port: 5671 }, 'AMQP://rabbit.example:5671'],
    ['AMQP', { ...amqp, host: 'Rabbit.example.', security: 'none' }, 'AMQP://rabbit.example:5672'],
    ['AMQP', { ...amqp, host: 'rabbit.example' }, 'AMQP://rabbit.example:5671'],
    ['AMQP', { ...amqp, host: '[::FFFF:7f00:1]' }, 'AMQP://127.0.0.1:5671'],
    ['AMQP', { ...amqp, host: '0:0::1' }, 'AMQP://[::1]:5671'],
    ['AMQP', { ...amqp, host: '１２７.0.0.1' }, 'AMQP://127.0.0.1:5671'],
    ['EMAIL', { ...email, host: 'Mail.example' }, 'EMAIL://mail.example:587'],
    ['EMAIL', { ...email, host: 'mail.example', security: 'tls' }, 'EMAIL://mail.example:465'],
    ['EMAIL', { ...email, host: 'BÜCHER.example', security: 'none' }, 'EMAIL://xn--bcher-kva.example:25'],
    ['SFTP', { ...sftp, host: 'files.example' }, 'SFTP://files.example:22'],
    ['SFTP', { ...sftp, host: '2130706433', port: 2222 }, 'SFTP://127.0.0.1:2222'],
  ])('of %s %j', (protocol, configuration, target) => {
    const parsed = destinationFor(protocol).config.safeParse(configuration)
    expect(parsed.error?.issues).toBeUndefined()
    expect(inlineTarget(protocol, configuration)).toBe(target)
  })

  it.each<[Protocol, Record<string, unknown>]>([
    ['REST', { endpoint: 'nonsense' }],
    ['REST', { endpoint: 'http:' }],
    ['REST', { endpoint: 'http:///' }],
    ['REST', { endpoint: `http://${'a'.repeat(63)}.${'b'.repeat(200)}/` }],
    ['REST', { endpoint: 'http:\\\\receiver.example/' }],
    ['REST', { endpoint: 'ht\ntp://receiver.example/' }],
    ['REST', { endpoint: '\thttp://receiver.example/' }],
    ['REST', { endpoint: 'http://user:password@receiver.example/' }],
    ['REST', { endpoint: 'http:user@receiver.example/' }],
    ['JDBC', { ...jdbc, url: 'jdbc:postgresql://a.example,b.example/reports' }],
    ['JDBC', { ...jdbc, url: 'jdbc:postgresql:reports' }],
    ['JDBC', { ...jdbc, url: 'jdbc:postgresql:///reports' }],
    ['JDBC', { ...jdbc, url: 'jdbc:mysql://(host=a.example,port=3306)/reports' }],
    ['JDBC', { ...jdbc, url: 'jdbc:mysql://user@a.example/reports' }],
    ['JDBC', { ...jdbc, url: 'jdbc:mysql://a%2eexample/reports' }],
    ['AMQP', amqp],
    ['AMQP', { ...amqp, host: 'a.example?b' }],
    ['AMQP', { ...amqp, host: '%6cocalhost' }],
    ['AMQP', { ...amqp, host: 'amqp://a.example' }],
    ['SFTP', { ...sftp, host: '...' }],
    ['EMAIL', { ...email, host: 'a.example#b' }],
    ['S3', { ...s3, endpoint: 'http:///' }],
  ])('what has none is refused, so that no delivery is without one: %s %j', (protocol, configuration) => {
    expect(destinationFor(protocol).config.safeParse(configuration).success).toBe(false)
    expect(inlineTarget(protocol, configuration)).toBeNull()
  })
})

it('an unknown protocol has no target', () => {
  expect(inlineTarget('FTP', { host: 'a.example' })).toBeNull()
  expect(inlineTarget('constructor', {})).toBeNull()
  expect(inlineTarget('REST', null as never)).toBeNull()
})

it('a port is a part of the target, and the name fits into a row', () => {
  expect(targetOf('A.example', 1)).toEqual({ host: 'a.example', port: 1 })
  expect(targetOf('a'.repeat(400), 1)).toBeUndefined()
})
