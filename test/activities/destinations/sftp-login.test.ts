import { generateKeyPairSync } from 'node:crypto'
import { chmodSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { inspect } from 'node:util'
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest'
import { privateKey } from '../../../activities/destinations/sftp/key.ts'
import { describeWith, INSTALL_MS } from '../../support/receivers/needs.ts'
import { type KeyPairOptions, makeKeyPair } from '../../support/receivers/ssh-keys.ts'
import { hasAccounts, type Sshd, startSshd } from '../../support/receivers/sshd.ts'
import { failureOf, SECRET, WRONG } from './contract.ts'
import { aConfig, probe, send } from './sending-files.ts'

/** Where operating systems install OpenSSH's SFTP server. */
const SFTP_SERVERS = [
  '/usr/lib/openssh/sftp-server',
  '/usr/libexec/openssh/sftp-server',
  '/usr/lib/ssh/sftp-server',
  '/usr/libexec/sftp-server',
]

const describe = await describeWith('sshd')
const withAccounts = it.skipIf(!process.env.CI && !hasAccounts())

let sshd: Sshd
const others: Sshd[] = []

beforeAll(async () => {
  sshd = await startSshd({ say: console.error })
}, INSTALL_MS)
afterAll(() => sshd?.close())
afterEach(async () => {
  await Promise.all(others.splice(0).map((other) => other.close()))
})

async function another(options: Omit<Parameters<typeof startSshd>[0], 'say'>): Promise<Sshd> {
  const started = await startSshd({ say: console.error, ...options })
  others.push(started)
  return started
}

describe('a private key of SFTP', () => {
  it.each<KeyPairOptions>([
    { type: 'ed25519' },
    { type: 'ed25519', passphrase: SECRET },
    { type: 'rsa' },
    { type: 'rsa', passphrase: SECRET },
    { type: 'rsa', format: 'PEM' },
    { type: 'rsa', format: 'PEM', passphrase: SECRET },
    { type: 'rsa', format: 'PKCS8' },
    { type: 'rsa', format: 'PKCS8', passphrase: SECRET },
    { type: 'ecdsa', passphrase: SECRET },
    { type: 'ecdsa', format: 'PKCS8' },
  ])('logs in: %j', async (options) => {
    const { private_key, public_key } = makeKeyPair(options)
    sshd.authorize(public_key)
    const { passphrase } = options
    await probe(aConfig(sshd, { private_key, passphrase }))
    if (passphrase === undefined) return
    const failures = [
      await failureOf(probe(aConfig(sshd, { private_key }))),
      await failureOf(probe(aConfig(sshd, { private_key, passphrase: WRONG }))),
    ]
    expect(failures.map(({ message }) => message)).toEqual([
      'private_key is encrypted; its "passphrase" is missing',
      'the passphrase does not decrypt private_key',
    ])
    for (const failure of failures) {
      expect(failure).toMatchObject({ code: 'MISCONFIGURED', retryable: false })
      expect(inspect(failure, { depth: 10 })).not.toContain(private_key.split('\n')[2])
      expect(inspect(failure, { depth: 10 })).not.toContain(WRONG)
    }
  })

  it('logs in: Ed25519 in PKCS#8, as OpenSSL makes it, also with Windows line ends', async () => {
    const { privateKey, publicKey } = generateKeyPairSync('ed25519')
    const point = Buffer.from(publicKey.export({ format: 'jwk' }).x!, 'base64url')
    const blob = Buffer.concat([Buffer.from('\0\0\0\x0bssh-ed25519\0\0\0\x20', 'latin1'), point])
    sshd.authorize(`ssh-ed25519 ${blob.toString('base64')} test`)
    const plain = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
    await probe(aConfig(sshd, { private_key: plain.replaceAll('\n', '\r\n') }))
    const sealed = { type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: SECRET } as const
    await probe(aConfig(sshd, { private_key: privateKey.export(sealed).toString(), passphrase: SECRET }))
  })

  it.each([
    ['nonsense', 'cannot be read'],
    ['-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----', 'cannot be read'],
    ['-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----', 'cannot be read'],
    [makeKeyPair().public_key, 'is a public key'],
  ])('that cannot be used is refused before the server is called: %j', async (private_key, message) => {
    const error = await failureOf(probe(aConfig(sshd, { private_key, host: '203.0.113.1' })))
    expect(error).toMatchObject({ code: 'MISCONFIGURED', retryable: false })
    expect(error.message).toContain(message)
  })

  it('is decrypted once, which takes half a second, and not for each attempt', () => {
    const { private_key } = makeKeyPair({ passphrase: SECRET })
    expect(privateKey(private_key, SECRET)).toBe(privateKey(private_key, SECRET))
  })

  it('that the server does not know is UNAUTHORIZED, and the message names what the server accepts', async () => {
    const error = await failureOf(send(aConfig(sshd, { private_key: makeKeyPair().private_key })))
    expect(error).toMatchObject({ code: 'UNAUTHORIZED', retryable: false })
    expect(error.message).toContain('the server refused the private_key or the username; it accepts: publickey')
  })
})

describe('a password of SFTP', () => {
  withAccounts('is refused permanently, also when the server disconnects after the first wrong one', async () => {
    const strict = await another({ password: SECRET, settings: ['MaxAuthTries 1'] })
    await probe(aConfig(strict, { password: SECRET }))
    const error = await failureOf(send(aConfig(strict, { password: WRONG })))
    expect(error).toMatchObject({ code: 'UNAUTHORIZED', retryable: false })
  })

  it('is UNAUTHORIZED when the server takes no passwords, and the message names what it accepts', async () => {
    const error = await failureOf(send(aConfig(sshd, { password: SECRET })))
    expect(error).toMatchObject({ code: 'UNAUTHORIZED', retryable: false })
    expect(error.message).toContain('it accepts: publickey')
  })

  it('cannot be used together with a key, and one of the two is required', async () => {
    const config = { ...aConfig(sshd), password: SECRET }
    expect((await failureOf(send(config))).message).toContain('both password and private_key are stated')
    const { private_key: _, password: __, ...none } = config
    expect((await failureOf(send(none))).message).toContain('neither a password nor a private_key')
  })
})

describe('the key of an SFTP server', () => {
  it('may be one of several, or any', async () => {
    await probe(aConfig(sshd, { host_key: [`SHA256:${'A'.repeat(43)}`, sshd.host_key()] }))
    await probe(aConfig(sshd, { host_key: 'any' }))
  })

  it('that has changed is final, for delivery and probe, and the message shows both', async () => {
    const moved = await another({})
    const config = aConfig(moved)
    await send(config)
    const before = moved.host_key()
    await moved.changeHostKey()
    expect(moved.host_key()).not.toBe(before)
    for (const attempt of [send, probe]) {
      const error = await failureOf(attempt(config))
      expect(error).toMatchObject({ code: 'MISCONFIGURED', retryable: false })
      expect(error.message).toContain(`it showed ${moved.host_key()} (ssh-ed25519) and not ${before}.`)
    }
    await send(aConfig(moved))
  })
})

describe('an SFTP server', () => {
  it('without SFTP for this user is final', async () => {
    const other = await another({ settings: ['ForceCommand /bin/true'] })
    for (const attempt of [send, probe]) {
      const error = await failureOf(attempt(aConfig(other)))
      expect(error).toMatchObject({ code: 'MISCONFIGURED', retryable: false })
      expect(error.message).toContain('opens no SFTP session')
    }
  })

  it('whose SFTP program is killed is tried again', async () => {
    const other = await another({ settings: ['ForceCommand kill -KILL $$'] })
    const error = await failureOf(send(aConfig(other)))
    expect(error).toMatchObject({ code: 'DESTINATION_UNAVAILABLE', retryable: true })
    expect(error.message).toBe('the server could not open an SFTP session')
  })

  it('whose shell prints a greeting in place of SFTP is final', async () => {
    const other = await another({ settings: ['ForceCommand echo Welcome to the depot'] })
    const error = await failureOf(send(aConfig(other)))
    expect(error).toMatchObject({ code: 'MISCONFIGURED', retryable: false })
    expect(error.message).toContain('opens no SFTP session')
  })

  it('that sends invalid data with its first answer ends only that connection', async () => {
    // SSH_FXP_VERSION, and in the same write a packet of no length.
    const bytes = String.raw`\000\000\000\005\002\000\000\000\003\000\000\000\000`
    const other = await another({ settings: [`ForceCommand printf '${bytes}'; sleep 5`] })
    for (const attempt of [send, probe]) {
      expect(await failureOf(attempt(aConfig(other)))).toMatchObject({
        code: 'DESTINATION_UNAVAILABLE',
        retryable: true,
      })
    }
  })

  it('that sends invalid data on a kept connection ends only that connection', async () => {
    const flag = join(mkdtempSync(join(tmpdir(), 'distributor-flag-')), 'flag')
    const program = SFTP_SERVERS.find(existsSync)
    // The account on the server reads and writes files there.
    chmodSync(dirname(flag), 0o777)
    const nonsense = `while [ ! -e ${flag} ]; do sleep 0.05; done; echo nonsense; sleep 0.05; touch ${flag}.done`
    const other = await another({ settings: [`ForceCommand (${nonsense}) & exec ${program}`] })
    await send(aConfig(other), { tenant_id: 'acme' })
    writeFileSync(flag, '')
    await expect.poll(() => existsSync(`${flag}.done`)).toBe(true)
    rmSync(flag)
    await send(aConfig(other), { tenant_id: 'acme' })
    await others.pop()!.close()
    rmSync(dirname(flag), { recursive: true })
  })

  it('with only old algorithms is final, and works when they are allowed', async () => {
    const old = await another({
      settings: ['KexAlgorithms diffie-hellman-group14-sha1', 'Ciphers aes128-cbc', 'MACs hmac-sha1-96'],
    })
    const error = await failureOf(send(aConfig(old)))
    expect(error).toMatchObject({ code: 'MISCONFIGURED', retryable: false })
    expect(error.message).toContain('legacy_algorithms')
    await send(aConfig(old, { legacy_algorithms: true }))
  })
})
