// Behaviour of servers and networks that OpenSSH does not show.
import type { Socket } from 'node:net'
import { setImmediate } from 'node:timers/promises'
import type { AuthContext } from 'ssh2'
import { afterEach, describe, expect, it } from 'vitest'
import { type SftpConfig, sftpConfig } from '../../../activities/destinations/sftp/config.ts'
import { type StrangeSftp, type StrangeSftpOptions, startStrangeSftp } from '../../support/receivers/strange-sftp.ts'
import { failureOf, SECRET } from './contract.ts'
import { probe, send } from './sending-files.ts'

const open: StrangeSftp[] = []

afterEach(async () => {
  await Promise.all(open.splice(0).map((server) => server.close()))
})

async function strange(options: StrangeSftpOptions = {}, given: Record<string, unknown> = {}) {
  const server = await startStrangeSftp(options)
  open.push(server)
  const { timeout_seconds = 10, ...rest } = given
  const stated = {
    host: '127.0.0.1',
    port: server.port,
    username: 'u',
    password: SECRET,
    host_key: 'any',
    path: 'x.json',
  }
  const config = {
    ...(sftpConfig.parse({ ...stated, ...rest }) as SftpConfig),
    timeout_seconds: timeout_seconds as number,
  }
  return { ...server, config }
}

const text = (files: Map<string, Buffer>) => Object.fromEntries([...files].map(([name, file]) => [name, String(file)]))

describe('a server without extensions', () => {
  it('takes a file, and its replacement', async () => {
    const { config, files } = await strange()
    await send(config, { body: Buffer.from('one') })
    await send(config, { body: Buffer.from('two') })
    expect(text(files)).toEqual({ 'x.json': 'two' })
  })

  it.each([false, true])(
    'keeps what is there for "fail" and "keep_both" (renames replace: %s)',
    async (renameReplaces) => {
      const { config, files } = await strange({ renameReplaces })
      files.set('x.json', Buffer.from('theirs'))
      const body = Buffer.from('ours')
      const error = await failureOf(send({ ...config, if_exists: 'fail' }, { body }))
      expect(error).toMatchObject({ code: 'REJECTED', retryable: false })
      await send({ ...config, if_exists: 'keep_both' }, { body, delivery_id: 'd-1' })
      expect(text(files)).toEqual({ 'x.json': 'theirs', 'x-d-1.json': 'ours' })
    },
  )
})

describe('a server that wants too much memory', () => {
  it('by requests whose answers it does not read is left, and the delivery is tried again', async () => {
    const { config } = await strange({ floods: true }, { timeout_seconds: 60 })
    const error = await failureOf(send(config, { body: Buffer.from('x') }))
    expect(error).toMatchObject({ code: 'DESTINATION_UNAVAILABLE', retryable: true })
    expect((error as Error).message).toBe('the server sends requests and does not read the answers')
  })

  it.each(['zlib', 'zlib@openssh.com'] as const)(
    'by compression (%s) finds no algorithm in common',
    async (compression) => {
      const { config } = await strange({ compression })
      const error = await failureOf(send(config, { body: Buffer.from('x') }))
      expect(error).toMatchObject({ code: 'MISCONFIGURED', message: expect.stringContaining('compression') })
    },
  )
})

describe('a file that another client writes during the delivery', () => {
  it.each([false, true])('is kept for "fail" and "keep_both" (renames replace: %s)', async (renameReplaces) => {
    const { config, files } = await strange({
      renameReplaces,
      onWrite(answer) {
        files.set('x.json', Buffer.from('theirs'))
        answer()
      },
    })
    const body = Buffer.from('ours')
    expect(await failureOf(send({ ...config, if_exists: 'fail' }, { body }))).toMatchObject({ code: 'REJECTED' })
    files.clear()
    await send({ ...config, if_exists: 'keep_both' }, { body, delivery_id: 'd-1' })
    expect(text(files)).toEqual({ 'x.json': 'theirs', 'x-d-1.json': 'ours' })
  })
})

describe('a server that loses bytes', () => {
  it('when the file is shorter than what was sent, it never gets its name, and the delivery is tried again', async () => {
    const { config, files } = await strange({ keep: (data) => data.subarray(0, -1) })
    files.set('x.json', Buffer.from('older'))
    const error = await failureOf(send(config, { body: Buffer.from('12345') }))
    expect(error).toMatchObject({ code: 'DESTINATION_UNAVAILABLE', retryable: true })
    expect(error.message).toBe('the server accepted 5 bytes, but the file has 4')
    expect(text(files)).toEqual({ 'x.json': 'older' })
  })

  it('when the file vanishes before it has its name, the delivery is tried again', async () => {
    const { config, files } = await strange({
      onWrite(answer) {
        files.clear()
        answer()
      },
    })
    const error = await failureOf(send(config))
    expect(error).toMatchObject({ code: 'DESTINATION_UNAVAILABLE', retryable: true })
    expect(error.message).toContain('was removed before it had its final name')
  })

  it('when a write is never answered, the attempt ends with its deadline', async () => {
    const { config } = await strange({ onWrite: () => {} }, { timeout_seconds: 2 })
    const error = await failureOf(send(config))
    expect(error).toMatchObject({ code: 'TIMEOUT', retryable: true })
    expect(error.message).toBe('the destination did not accept the file within 2 s')
  })
})

describe('a server that is late', () => {
  it('never gives the name to a part of what the next attempt writes', async () => {
    let late: (() => void) | undefined
    let renames = 0
    const seen: number[] = []
    const { config, files } = await strange({
      onRename(rename) {
        renames += 1
        if (renames === 1) late = rename
        else rename()
      },
      onWrite(answer) {
        // The first attempt has given up, and the second has written a part.
        late?.()
        late = undefined
        seen.push(files.get('x.json')?.length ?? 0)
        answer()
      },
    })
    const message = { body: Buffer.alloc(100_000, 'x'), delivery_id: 'd-1' }
    expect(await failureOf(send({ ...config, timeout_seconds: 1 }, message))).toMatchObject({ code: 'TIMEOUT' })
    expect(renames).toBe(1)
    await send(config, { ...message, attempt_number: 2 })
    expect(seen.filter((length) => length !== 0 && length !== message.body.length)).toEqual([])
    expect([...files].map(([name, { length }]) => [name, length])).toEqual([['x.json', message.body.length]])
  })
})

describe('a large body', () => {
  it('has at most 64 unanswered parts of 30 KiB', async () => {
    const held: (() => void)[] = []
    let most = 0
    const onWrite = (answer: () => void) => {
      held.push(answer)
      most = Math.max(most, held.length)
      // Nothing is answered until no more come.
      if (held.length < 64) return
      void setImmediate().then(() => {
        for (const each of held.splice(0)) each()
      })
    }
    const { config, files } = await strange({ onWrite })
    const body = Buffer.alloc(64 * 30 * 1024 * 3, 'abc')
    await send(config, { body })
    expect(files.get('x.json')!.equals(body)).toBe(true)
    expect(most).toBe(64)
  })
})

describe('a connection that ends after the file has its name', () => {
  it.each([
    ['is closed', (socket: Socket) => socket.end()],
    ['is reset', (socket: Socket) => void setImmediate().then(() => socket.resetAndDestroy())],
  ])('and %s: the delivery succeeds, nothing is raised, and the next one uses a new connection', async (_, end) => {
    let renames = 0
    const afterRename = (socket: Socket, to: string) => {
      // The older file that is renamed first is tested in sftp-replace.test.ts.
      if (to.endsWith('.older')) return
      renames += 1
      end(socket)
    }
    const { config, files } = await strange({ afterRename })
    await send(config, { tenant_id: 'acme', body: Buffer.from('one'), delivery_id: 'd-1' })
    await send({ ...config, path: 'y.json' }, { tenant_id: 'acme', body: Buffer.from('two'), delivery_id: 'd-2' })
    await send(config, { tenant_id: 'acme', body: Buffer.from('three'), delivery_id: 'd-3' })
    // The connection may have ended before the file that the third has replaced was removed.
    const { '.d-3.older': replaced = 'one', ...rest } = text(files)
    expect(rest).toEqual({ 'x.json': 'three', 'y.json': 'two' })
    expect(replaced).toBe('one')
    expect(renames).toBeGreaterThanOrEqual(3)
  })
})

describe('an unusual login', () => {
  it('answers the hidden question of a server that takes no passwords, once', async () => {
    const tries: string[] = []
    const authenticate = (right: string) => (context: AuthContext) => {
      tries.push(context.method)
      if (context.method !== 'keyboard-interactive') return context.reject(['keyboard-interactive'])
      context.prompt([{ prompt: 'Password: ', echo: false }], (answers) => {
        if (answers[0] === right) context.accept()
        else context.reject(['keyboard-interactive'])
      })
    }
    const good = await strange({ authenticate: authenticate(SECRET) })
    await probe(good.config)
    expect(tries.splice(0)).toEqual(['password', 'keyboard-interactive'])
    const bad = await strange({ authenticate: authenticate('another') })
    expect(await failureOf(probe(bad.config))).toMatchObject({ code: 'UNAUTHORIZED', retryable: false })
    expect(tries).toEqual(['password', 'keyboard-interactive'])
  })

  it('never sends the password as an answer that the server would show', async () => {
    const answered: string[][] = []
    const { config } = await strange({
      authenticate: (context) => {
        if (context.method !== 'keyboard-interactive') return context.reject(['keyboard-interactive'])
        context.prompt([{ prompt: 'Your name: ', echo: true }], (answers) => {
          answered.push(answers)
          context.reject([])
        })
      },
    })
    expect(await failureOf(probe(config))).toMatchObject({ code: 'UNAUTHORIZED', retryable: false })
    expect(answered).toEqual([['']])
  })

  it('sends the password as the answer to one question only', async () => {
    const answered: string[][] = []
    const ask = (context: AuthContext, times: number) => {
      if (context.method !== 'keyboard-interactive') return context.reject(['keyboard-interactive'])
      if (times === 0) return context.reject([])
      context.prompt([{ prompt: 'Password: ', echo: false }], (answers) => {
        answered.push(answers)
        ask(context, times - 1)
      })
    }
    const { config } = await strange({ authenticate: (context) => ask(context, 2) })
    expect(await failureOf(probe(config))).toMatchObject({ code: 'UNAUTHORIZED', retryable: false })
    expect(answered).toEqual([[SECRET], ['']])
  })

  it('tries a wrong password once', async () => {
    let guesses = 0
    const { config } = await strange({
      authenticate: (context) => {
        guesses += 1
        context.reject(['password', 'keyboard-interactive', 'publickey'])
      },
    })
    expect(await failureOf(send(config))).toMatchObject({ code: 'UNAUTHORIZED', retryable: false })
    expect(guesses).toBe(1)
  })

  it('reports a password that has expired', async () => {
    const { config } = await strange({
      authenticate: (context) => {
        if (context.method === 'password') context.requestChange('change it', () => context.reject([]))
        else context.reject(['password'])
      },
    })
    const error = await failureOf(probe(config))
    expect(error).toMatchObject({ code: 'UNAUTHORIZED', retryable: false })
    expect(error.message).toBe('the password has expired')
  })
})
