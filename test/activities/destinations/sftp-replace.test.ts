// Overwriting a file on SFTP servers that cannot do it in one step, and on such that answer in their own ways: the older file
// is there until the new one has its name, whatever is answered, and wherever the connection ends.
import { afterEach, describe, expect, it } from 'vitest'
import { type SftpConfig, sftpConfig } from '../../../activities/destinations/sftp/config.ts'
import { type StrangeSftp, type StrangeSftpOptions, startStrangeSftp } from '../../support/receivers/strange-sftp.ts'
import { failureOf, SECRET } from './contract.ts'
import { send } from './sending-files.ts'

const open: StrangeSftp[] = []
afterEach(async () => {
  await Promise.all(open.splice(0).map((server) => server.close()))
})

type Answer = NonNullable<StrangeSftpOptions['answer']>
/** Answered by `answer` where it says something. */
async function serverThat(answer: Answer, options: StrangeSftpOptions = {}) {
  const server = await startStrangeSftp({ ...options, answer })
  open.push(server)
  const stated = {
    host: '127.0.0.1',
    port: server.port,
    username: 'u',
    password: SECRET,
    host_key: 'any',
    path: 'x.json',
  }
  const config = { ...(sftpConfig.parse(stated) as SftpConfig), timeout_seconds: 10 }
  return { config, files: server.files }
}
const text = (files: Map<string, Buffer>) => Object.fromEntries([...files].map(([name, file]) => [name, String(file)]))
const older = () => Buffer.from('older')
const message = { body: Buffer.from('newer'), delivery_id: 'd-1' }
const STATUSES = {
  'no such file': 2,
  'permission denied': 3,
  failure: 4,
  'bad message': 5,
  unsupported: 8,
  'no such path': 10,
  another: 21,
}
const everyStatus = Object.entries(STATUSES)
const MODES = ['overwrite', 'fail', 'keep_both'] as const

describe('a server with its own answers for a missing file', () => {
  describe.each(everyStatus)('LSTAT with %s', (_, status) => {
    /** What is there is shown. */
    const oddly =
      (requests: string[], files: () => Map<string, Buffer>): Answer =>
      (request, path) =>
        requests.includes(request) && path !== '.' && !files().has(path) ? status : undefined

    it.each(MODES)('accepts a file with if_exists %s', async (if_exists) => {
      for (const requests of [['LSTAT'], ['LSTAT', 'STAT']]) {
        const server = await serverThat(oddly(requests, () => server.files))
        await send({ ...server.config, if_exists }, message)
        expect(text(server.files)).toEqual({ 'x.json': 'newer' })
      }
    })

    it.each(MODES)('keeps or replaces an existing file with if_exists %s', async (if_exists) => {
      const server = await serverThat(oddly(['LSTAT', 'STAT'], () => server.files))
      server.files.set('x.json', older())
      const sent = send({ ...server.config, if_exists }, message)
      if (if_exists === 'fail') expect(await failureOf(sent)).toMatchObject({ code: 'REJECTED', retryable: false })
      else await sent
      expect(text(server.files)).toEqual(
        {
          overwrite: { 'x.json': 'newer' },
          fail: { 'x.json': 'older' },
          keep_both: { 'x.json': 'older', 'x-d-1.json': 'newer' },
        }[if_exists],
      )
    })
  })

  it.each(everyStatus)('a server that answers every LSTAT with %s loses nothing', async (_, status) => {
    for (const if_exists of MODES) {
      const { config, files } = await serverThat((request) =>
        request === 'LSTAT' && status !== 2 && status !== 10 ? status : undefined,
      )
      files.set('x.json', older())
      await send({ ...config, if_exists }, message).catch(() => {})
      expect(text(files)['x.json']).toBe(if_exists === 'overwrite' ? 'newer' : 'older')
    }
  })

  it('a server that lets nothing be read accepts an overwrite; the other modes fail', async () => {
    const blind: Answer = (request, path) =>
      ['LSTAT', 'STAT', 'OPENDIR'].includes(request) && path !== '.' && !path.endsWith('.part') ? 4 : undefined
    for (const if_exists of MODES) {
      const { config, files } = await serverThat((request, path) => (request === 'OPENDIR' ? 4 : blind(request, path)))
      const sent = send({ ...config, if_exists }, message)
      if (if_exists === 'overwrite') await sent
      else expect(await failureOf(sent)).toMatchObject({ code: 'DESTINATION_UNAVAILABLE' })
      expect(text(files)).toEqual(if_exists === 'overwrite' ? { 'x.json': 'newer' } : {})
    }
  })
})

describe('an overwrite that is refused', () => {
  it.each([
    ...everyStatus.map(([name, status]) => ['RENAME', name, status] as const),
    ...everyStatus.map(([name, status]) => ['OPEN', name, status] as const),
    ...everyStatus.map(([name, status]) => ['WRITE', name, status] as const),
    ...everyStatus.map(([name, status]) => ['CLOSE', name, status] as const),
    ...everyStatus.map(([name, status]) => ['FSETSTAT', name, status] as const),
  ])('at every %s, with %s, leaves the older file under its name', async (refused, _, status) => {
    const { config, files } = await serverThat((request) => (request === refused ? status : undefined))
    files.set('x.json', older())
    await failureOf(send({ ...config, file_mode: '0640' }, message))
    expect(text(files)).toEqual({ 'x.json': 'older' })
  })

  it.each(everyStatus)(
    'when the new file is to get the name, with %s, leaves the older file under its name',
    async (_, status) => {
      const { config, files } = await serverThat((request, from, to) =>
        request === 'RENAME' && from.endsWith('.part') && to === 'x.json' ? status : undefined,
      )
      files.set('x.json', older())
      const error = await failureOf(send(config, message))
      expect(error.message).not.toContain('older file is now')
      expect(text(files)).toEqual({ 'x.json': 'older' })
    },
  )

  it.each(everyStatus)(
    'and when it cannot get its name back, with %s, the message says what the older file is called',
    async (_, status) => {
      const { config, files } = await serverThat((request, _from, to) =>
        request === 'RENAME' && to === 'x.json' ? status : undefined,
      )
      files.set('x.json', older())
      const error = await failureOf(send(config, message))
      expect(error.message).toContain('the older file is now called .d-1.older')
      expect(text(files)).toEqual({ '.d-1.older': 'older' })
    },
  )

  it.each(everyStatus)('only when the older file is to be removed, with %s, counts as delivered', async (_, status) => {
    const { config, files } = await serverThat((request, path) =>
      request === 'REMOVE' && path.endsWith('.older') ? status : undefined,
    )
    files.set('x.json', older())
    await send(config, message)
    expect(text(files)).toEqual({ 'x.json': 'newer', '.d-1.older': 'older' })
  })

  it('is repaired by the next attempt', async () => {
    let refusing = true
    const { config, files } = await serverThat((request, _, to) =>
      refusing && request === 'RENAME' && to === 'x.json' ? 4 : undefined,
    )
    files.set('x.json', older())
    await failureOf(send(config, message))
    expect(text(files)).toEqual({ '.d-1.older': 'older' })
    refusing = false
    await send(config, { ...message, attempt_number: 2 })
    expect(text(files)).toEqual({ 'x.json': 'newer' })
  })
})

describe('a missing folder', () => {
  it.each(everyStatus)('is created when OPEN answers %s', async (_, status) => {
    const made = new Set<string>()
    const { config, files } = await serverThat((request, path) => {
      if (request === 'OPEN' && !made.has('in')) return status
      if (['LSTAT', 'STAT'].includes(request) && path === 'in') return made.has('in') ? undefined : 2
      if (request === 'MKDIR') made.add(path)
      return undefined
    })
    await send({ ...config, path: 'in/x.json' }, message)
    expect(text(files)).toEqual({ 'in/x.json': 'newer' })
  })
})

describe.each(['drop', 'drop after'] as const)('a connection that ends (%s) at any request of an overwrite', (kind) => {
  /** Counts the requests, and ends the connection at one of them. */
  function endingAt(at: number) {
    let count = 0
    const answer: Answer = () => (count++ === at ? kind : undefined)
    return { answer, ended: () => count > at }
  }

  it.each([false, true])(
    'loses no file, and the next attempt delivers (renames replace: %s)',
    async (renameReplaces) => {
      const seen: string[] = []
      for (let at = 0; at < 40; at++) {
        const { answer, ended } = endingAt(at)
        const { config, files } = await serverThat(answer, { renameReplaces })
        files.set('x.json', older())
        await send(config, message).catch(() => {})
        if (!ended()) {
          expect(at).toBeGreaterThan(renameReplaces ? 4 : 6)
          break
        }
        const name = files.has('x.json') ? 'x.json' : '.d-1.older'
        seen.push(name)
        expect(['older', 'newer'], `at request ${at}`).toContain(String(files.get(name)))
        await send(config, { ...message, attempt_number: 2 })
        expect(text(files), `at request ${at}`).toEqual({ 'x.json': 'newer' })
      }
      expect(seen.includes('.d-1.older')).toBe(!renameReplaces)
    },
  )

  it('also at any request of the attempt that puts the older file back', async () => {
    for (let at = 0; at < 40; at++) {
      const { answer, ended } = endingAt(at)
      let counting = false
      const { config, files } = await serverThat((...request) => (counting ? answer(...request) : undefined))
      files.set('.d-1.older', older())
      counting = true
      await send(config, { ...message, attempt_number: 2 }).catch(() => {})
      if (!ended()) break
      const name = ['x.json', '.d-1.older', '.d-1.2.older'].find((each) => files.has(each))!
      expect(['older', 'newer'], `at request ${at}`).toContain(String(files.get(name)))
      counting = false
      await send(config, { ...message, attempt_number: 3 })
      expect(text(files), `at request ${at}`).toEqual({ 'x.json': 'newer' })
    }
  })
})

it('with keep_both, a retry puts the file of its delivery back in the same way', async () => {
  const { config, files } = await serverThat(() => undefined)
  files.set('x.json', older())
  files.set('.d-1.older', Buffer.from('newer'))
  await send({ ...config, if_exists: 'keep_both' }, { ...message, attempt_number: 2 })
  expect(text(files)).toEqual({ 'x.json': 'older', 'x-d-1.json': 'newer' })
})

it('the suffix of older files is refused as a temporary suffix', () => {
  const stated = { host: 'h', username: 'u', password: 'p', host_key: 'any', path: 'x' }
  expect(sftpConfig.safeParse({ ...stated, temporary_suffix: '.older' }).success).toBe(false)
})
