import {
  chmodSync,
  chownSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  statSync,
} from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { converse } from '../../support/conversation.ts'
import { losingTheAnswer } from '../../support/lost-answer.ts'
import { startProxy } from '../../support/proxy.ts'
import { describeWith, INSTALL_MS } from '../../support/receivers/needs.ts'
import { hasAccounts, type Sshd, startSshd } from '../../support/receivers/sshd.ts'
import { failureOf, SECRET } from './contract.ts'
import { aConfig, asClient, contentOf, namesIn, probe, send } from './sending-files.ts'

const MIB = 1024 * 1024
const describe = await describeWith('sshd')
/** Where the machine gives sshd no accounts of its own there are neither passwords nor a small disk. */
const withAccounts = it.skipIf(!process.env.CI && !hasAccounts())

let sshd: Sshd

beforeAll(async () => {
  sshd = await startSshd({
    say: console.error,
    ...(hasAccounts() && { password: SECRET, small_disk_bytes: MIB }),
  })
}, INSTALL_MS)
afterAll(() => sshd?.close())

/** A new folder at the server, of the account. */
function folder(mode = 0o755): string {
  const made = mkdtempSync(join(sshd.home, 'f-'))
  chmodSync(made, mode)
  own(made)
  return made
}

function own(path: string): void {
  const { uid, gid } = statSync(sshd.home)
  chownSync(path, uid, gid)
}

/** A file of somebody else's. */
async function foreign(path: string, content = 'of somebody else'): Promise<string> {
  await writeFile(path, content)
  own(path)
  return content
}

/** Many different bytes, so that a part in the wrong place shows. */
function bytes(length: number): Buffer {
  const whole = Buffer.alloc(length)
  for (let at = 0; at + 4 <= length; at += 4) whole.writeUInt32LE(at ^ 0x5f3759df, at)
  return whole
}

describe('SFTP', () => {
  withAccounts('logs in by password', async () => {
    const config = aConfig(sshd, { password: SECRET })
    const { metadata } = await send(config, { delivery_id: 'by-password' })
    expect(metadata).toMatchObject({ path: `${sshd.home}/by-password.json`, already_there: false })
  })

  it('delivers 20 MiB exactly, and the name appears only when the file is complete', async () => {
    const at = folder()
    const body = bytes(20 * MIB + 3)
    const sending = send(aConfig(sshd, { path: `${at}/large.bin` }), { body, delivery_id: 'large' })
    await expect.poll(() => existsSync(`${at}/.large.part`)).toBe(true)
    expect(existsSync(`${at}/large.bin`)).toBe(false)
    await sending
    expect(await namesIn(sshd, at)).toEqual(['large.bin'])
    expect(readFileSync(`${at}/large.bin`).equals(body)).toBe(true)
  })

  it('delivers an empty body as an empty file', async () => {
    const at = folder()
    await send(aConfig(sshd, { path: `${at}/empty` }), { body: Buffer.alloc(0) })
    expect(statSync(`${at}/empty`).size).toBe(0)
  })

  it('starts in the folder of the login when the path has no leading slash', async () => {
    if (!hasAccounts()) return
    await send(aConfig(sshd, { path: 'relative/{distribution_id}' }), { distribution_id: 'dist_relative' })
    expect(await namesIn(sshd, `${sshd.home}/relative`)).toEqual(['dist_relative'])
  })
})

describe('folders and permissions', () => {
  it('creates missing folders with the configured permissions', async () => {
    const at = folder()
    const path = `${at}/2026/11/{data_type}/x.json`
    await send(aConfig(sshd, { path, directory_mode: '2770', file_mode: '0646' }))
    const mode = (name: string) => (statSync(join(at, name)).mode & 0o7777).toString(8)
    expect(['2026', '2026/11', '2026/11/aggregated_report'].map(mode)).toEqual(['2770', '2770', '2770'])
    expect(mode('2026/11/aggregated_report/x.json')).toBe('646')
  })

  it('creates them once when many deliveries come at the same time', async () => {
    const at = folder()
    const config = aConfig(sshd, { path: `${at}/a/b/{delivery_id}` })
    await Promise.all(Array.from({ length: 6 }, (_, each) => send(config, { delivery_id: `d-${each}` })))
    expect(await namesIn(sshd, `${at}/a/b`)).toHaveLength(6)
  })

  it('a missing folder is final when none may be created, for delivery and probe', async () => {
    const config = aConfig(sshd, { path: `${folder()}/missing/x`, create_directories: false })
    const expected = { code: 'MISCONFIGURED', retryable: false }
    expect(await failureOf(send(config))).toMatchObject(expected)
    expect(await failureOf(probe(config))).toMatchObject(expected)
    await probe({ ...config, create_directories: true })
  })

  it('a folder without write permission is final, with or without a folder to create', async () => {
    const at = folder(0o555)
    const expected = { code: 'REJECTED', retryable: false, response: { status: 3, body: 'Permission denied' } }
    expect(await failureOf(send(aConfig(sshd, { path: `${at}/x` })))).toMatchObject(expected)
    expect(await failureOf(send(aConfig(sshd, { path: `${at}/deep/x` })))).toMatchObject(expected)
    expect(readdirSync(at)).toEqual([])
  })

  it('a folder that has the name of the file is final, and a file that has the name of a folder too', async () => {
    const at = folder()
    mkdirSync(`${at}/x`)
    own(`${at}/x`)
    await foreign(`${at}/y`)
    const expected = { code: 'MISCONFIGURED', retryable: false }
    expect(await failureOf(send(aConfig(sshd, { path: `${at}/x` })))).toMatchObject(expected)
    expect(await failureOf(send(aConfig(sshd, { path: `${at}/y/z` })))).toMatchObject(expected)
    expect(readdirSync(at).toSorted()).toEqual(['x', 'y'])
  })

  it('a name that is too long is final', async () => {
    const error = await failureOf(send(aConfig(sshd, { path: `${folder()}/${'n'.repeat(256)}` })))
    expect(error).toMatchObject({ code: 'MISCONFIGURED', retryable: false })
  })

  it('a temporary file without write permission is replaced', async () => {
    const at = folder()
    await foreign(`${at}/.again.part`)
    chmodSync(`${at}/.again.part`, 0o444)
    await send(aConfig(sshd, { path: `${at}/x`, file_mode: '0440' }), { delivery_id: 'again', attempt_number: 2 })
    expect(readdirSync(at)).toEqual(['x'])
    expect(statSync(`${at}/x`).mode & 0o777).toBe(0o440)
  })

  it('a temporary file that is a link to a finished one is replaced, not written to', async () => {
    const at = folder()
    const content = await foreign(`${at}/finished`)
    // What is left where OpenSSH dies inside of a rename: it makes the new name before it takes the old one away.
    linkSync(`${at}/finished`, `${at}/.again.part`)
    await send(aConfig(sshd, { path: `${at}/x` }), { delivery_id: 'again', attempt_number: 2 })
    expect(readFileSync(`${at}/finished`, 'utf8')).toBe(content)
    expect(readdirSync(at).toSorted()).toEqual(['finished', 'x'])
  })

  withAccounts('a full disk is tried again, and nothing is left on it', async () => {
    const path = `${sshd.small_disk}/{delivery_id}`
    const error = await failureOf(send(aConfig(sshd, { path }), { body: bytes(3 * MIB), delivery_id: 'too-large' }))
    expect(error).toMatchObject({ code: 'DESTINATION_UNAVAILABLE', retryable: true, response: { status: 4 } })
    expect(await namesIn(sshd, sshd.small_disk)).toEqual([])
    await send(aConfig(sshd, { path }), { body: bytes(MIB / 2), delivery_id: 'small' })
    expect((await contentOf(sshd, `${sshd.small_disk}/small`)).equals(bytes(MIB / 2))).toBe(true)
  })
})

describe('an existing file of that name', () => {
  it('is replaced by default', async () => {
    const at = folder()
    await foreign(`${at}/x.json`)
    await send(aConfig(sshd, { path: `${at}/x.json` }), { body: Buffer.from('new') })
    expect(readFileSync(`${at}/x.json`, 'utf8')).toBe('new')
    expect(readdirSync(at)).toEqual(['x.json'])
  })

  it('is final for "fail", even when it is equal', async () => {
    const at = folder()
    const config = aConfig(sshd, { path: `${at}/x.json`, if_exists: 'fail' })
    const body = Buffer.from('equal')
    await send(config, { body })
    expect(await failureOf(send(config, { body }))).toMatchObject({ code: 'REJECTED', retryable: false })
    expect(await failureOf(send(config, { body: Buffer.from('other') }))).toMatchObject({ code: 'REJECTED' })
    expect(await failureOf(send(config, { body: Buffer.from('other'), attempt_number: 2 }))).toMatchObject({
      code: 'REJECTED',
    })
    expect(readFileSync(`${at}/x.json`, 'utf8')).toBe('equal')
    expect(readdirSync(at)).toEqual(['x.json'])
  })

  it('is kept for "keep_both", and the new one is written beside it with the delivery id in its name', async () => {
    const at = folder()
    const config = aConfig(sshd, { path: `${at}/x.json`, if_exists: 'keep_both' })
    const body = Buffer.from('equal')
    for (const delivery_id of ['one', 'two', 'three']) await send(config, { body, delivery_id })
    expect(readdirSync(at).toSorted()).toEqual(['x-three.json', 'x-two.json', 'x.json'])
  })

  it("is somebody else's for a delivery with another id, also in a later attempt", async () => {
    const at = folder()
    const config = aConfig(sshd, { path: `${at}/x.json`, if_exists: 'keep_both' })
    const body = Buffer.from('equal')
    await send(config, { body, delivery_id: 'one' })
    const forced = { body, delivery_id: 'two', attempt_number: 2, is_repeat: false }
    expect((await send(config, forced)).metadata).toMatchObject({ path: `${at}/x-two.json`, already_there: false })
    expect(await failureOf(send({ ...config, if_exists: 'fail' }, forced))).toMatchObject({ code: 'REJECTED' })
    expect(readdirSync(at).toSorted()).toEqual(['x-two.json', 'x.json'])
  })

  it.each(['fail', 'keep_both'] as const)(
    'one of several simultaneous deliveries gets the name with "%s"',
    async (if_exists) => {
      const at = folder()
      const config = aConfig(sshd, { path: `${at}/x.json`, if_exists })
      const ids = ['a', 'b', 'c', 'd', 'e', 'f']
      const outcomes = await Promise.allSettled(
        ids.map((delivery_id) => send(config, { delivery_id, body: Buffer.from(delivery_id.repeat(1000)) })),
      )
      const winner = readFileSync(`${at}/x.json`, 'utf8')
      expect(ids.map((id) => id.repeat(1000))).toContain(winner)
      const won = outcomes.filter(({ status }) => status === 'fulfilled')
      expect(won).toHaveLength(if_exists === 'fail' ? 1 : ids.length)
      expect(readdirSync(at)).toHaveLength(if_exists === 'fail' ? 1 : ids.length)
    },
  )

  it.each([
    ['overwrite', false],
    ['overwrite', true],
    ['fail', false],
    ['keep_both', false],
    ['keep_both', true],
  ] as const)(
    '"%s" (another file exists: %s): a retry after a lost answer makes no second file',
    async (if_exists, another) => {
      const body = bytes(100_000)
      const message = { delivery_id: 'd-1', body }
      const final = another && if_exists === 'keep_both' ? 'x-d-1.json' : 'x.json'
      const moments: Record<string, (at: string) => boolean> = {
        opened: (at) => existsSync(`${at}/.d-1.part`),
        written: (at) => existsSync(`${at}/.d-1.part`) && statSync(`${at}/.d-1.part`).size === body.length,
        named: (at) => existsSync(`${at}/${final}`) && statSync(`${at}/${final}`).size === body.length,
      }
      for (const [moment, happened] of Object.entries(moments)) {
        const at = folder()
        if (another) await foreign(`${at}/x.json`)
        const proxy = await losingTheAnswer({ host: '127.0.0.1', port: sshd.port }, () => happened(at))
        const config = aConfig(sshd, { port: proxy.port, path: `${at}/x.json`, if_exists })
        const error = await failureOf(send(config, message))
        expect(error).toMatchObject({ code: 'DESTINATION_UNAVAILABLE', retryable: true })
        expect(proxy.lost()).toBe(true)
        const { metadata } = await send(config, { ...message, attempt_number: 2 })
        expect(metadata).toEqual({
          path: `${at}/${final}`,
          bytes: body.length,
          already_there: moment === 'named' && if_exists !== 'overwrite',
        })
        expect(readFileSync(`${at}/${final}`).equals(body)).toBe(true)
        expect(readdirSync(at)).toEqual(another && if_exists === 'keep_both' ? ['x-d-1.json', 'x.json'] : ['x.json'])
        await proxy.close()
      }
    },
  )
})

describe('a large file during the transfer', () => {
  /** Sends through a proxy until about a third is there. */
  async function halfway(at: string, signal?: AbortSignal) {
    const proxy = await startProxy({ host: '127.0.0.1', port: sshd.port })
    const body = bytes(20 * MIB)
    const config = aConfig(sshd, { port: proxy.port, path: `${at}/x.bin` })
    const sending = send(config, { body, delivery_id: 'd-1' }, signal).then(
      () => undefined,
      (error: unknown) => error,
    )
    const temporary = `${at}/.d-1.part`
    await expect.poll(() => existsSync(temporary) && statSync(temporary).size > 5 * MIB, { interval: 2 }).toBe(true)
    return { proxy, body, config, sending }
  }

  it('a connection lost in the middle is tried again, and the leftover part does no harm', async () => {
    const at = folder()
    const { proxy, body, config, sending } = await halfway(at)
    proxy.cut()
    expect(await sending).toMatchObject({ code: 'DESTINATION_UNAVAILABLE', retryable: true })
    expect(readdirSync(at)).toEqual(['.d-1.part'])
    proxy.mend()
    await send(config, { body, delivery_id: 'd-1', attempt_number: 2 })
    expect(await namesIn(sshd, at)).toEqual(['x.bin'])
    expect(readFileSync(`${at}/x.bin`).equals(body)).toBe(true)
    await proxy.close()
  })

  it('a cancel while the server does not answer closes the socket within 2 s', async () => {
    const controller = new AbortController()
    const reason = new Error('cancelled')
    const conversation = await converse({ host: '127.0.0.1', port: sshd.port })
    const at = folder()
    const config = aConfig(sshd, { port: conversation.port, path: `${at}/x.bin` })
    const sending = send(config, { body: bytes(20 * MIB), delivery_id: 'd-1' }, controller.signal).catch(
      (error: unknown) => error,
    )
    const temporary = `${at}/.d-1.part`
    await expect.poll(() => existsSync(temporary) && statSync(temporary).size > MIB, { interval: 2 }).toBe(true)
    conversation.freeze()
    const began = performance.now()
    controller.abort(reason)
    expect(await sending).toBe(reason)
    await conversation.idle(2_000)
    expect(performance.now() - began).toBeLessThan(2_000)
    await conversation.close()
  })
})

describe('the sshd that tests and demo deliver to', () => {
  it('stops with all its sessions, and leaves nothing behind', async () => {
    const other = await startSshd({ say: console.error })
    const home = other.home
    await send(aConfig(other))
    const pid = other.pid()
    // The connection that was kept has a session of its own at the server.
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean)
    expect(children.length).toBeGreaterThan(0)
    await other.close()
    for (const each of [String(pid), ...children]) await expect.poll(() => existsSync(`/proc/${each}`)).toBe(false)
    expect(existsSync(home)).toBe(false)
    if (hasAccounts()) expect(readFileSync('/etc/passwd', 'utf8')).not.toContain(other.username)
  })

  it('reads back what another client writes', async () => {
    const at = folder()
    await asClient(sshd, (client) => client.put(Buffer.from('theirs'), `${at}/theirs`))
    expect(readFileSync(`${at}/theirs`, 'utf8')).toBe('theirs')
  })
})
