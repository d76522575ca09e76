import { describe, expect, it } from 'vitest'
import { sftpConfig } from '../../../activities/destinations/sftp/config.ts'
import { fillPath, fixedDirectory, pathProblem } from '../../../activities/destinations/sftp/path.ts'
import { aMessage } from './contract.ts'

const FINGERPRINT = `SHA256:${'A'.repeat(43)}`

const filled = (path: string, payload: unknown = {}, attempt_number = 1) =>
  fillPath(
    { path, temporary_suffix: '.part' },
    aMessage({ delivery_id: 'd-1', attempt_number, body: Buffer.from(JSON.stringify(payload)) }),
  )

describe('the path of a remote file', () => {
  it('is filled in; the temporary file and the one for keep_both have the delivery id in their names', () => {
    expect(filled('/in/{data_type}/{payload.name}.json', { name: 'Müller & Söhne' })).toEqual({
      directory: '/in/aggregated_report',
      target: '/in/aggregated_report/Müller & Söhne.json',
      temporary: '/in/aggregated_report/.d-1.part',
      leftovers: [],
      aside: '/in/aggregated_report/.d-1.older',
      earlierAsides: [],
      second: '/in/aggregated_report/Müller & Söhne-d-1.json',
    })
  })

  it('has another temporary file for each attempt, and knows the earlier ones', () => {
    expect(filled('in/report', {}, 3)).toMatchObject({
      target: 'in/report',
      temporary: 'in/.d-1.3.part',
      leftovers: ['in/.d-1.part', 'in/.d-1.2.part'],
      aside: 'in/.d-1.3.older',
      earlierAsides: ['in/.d-1.2.older', 'in/.d-1.older'],
    })
  })

  it('may start in the folder of the login, or at the root', () => {
    expect(filled('report')).toMatchObject({ directory: '', temporary: '.d-1.part', second: 'report-d-1' })
    expect(filled('/report')).toMatchObject({ directory: '/', temporary: '/.d-1.part', second: '/report-d-1' })
    expect(filled('{{a}}/.cache/x')).toMatchObject({ directory: '{a}/.cache', target: '{a}/.cache/x' })
  })

  it.each([
    ['in/{payload.x}.json', '../../etc/passwd'],
    ['in/{payload.x}.json', 'a/b'],
    ['in/{payload.x}.json', 'a\\b'],
    ['in/{payload.x}.json', 'a\u0000b'],
    ['in/{payload.x}.json', 'a\nb'],
    ['in/{payload.x}/y', '..'],
    ['in/{payload.x}/y', '.'],
    ['in/{payload.x}/y', ''],
    ['{payload.x}/authorized_keys', '.ssh'],
    ['in/{payload.x}', '.d-2.part'],
    ['in/.{payload.x}/y', '.'],
    ['{payload.x}', ''],
    ['{payload.x}/y', ''],
  ])('%s is refused when the payload contains %j', (path, x) => {
    expect(() => filled(path, { x })).toThrow(expect.objectContaining({ code: 'MISCONFIGURED', retryable: false }))
  })

  it('names the placeholder that has no value', () => {
    expect(() => filled('in/{payload.none}')).toThrow('{payload.none}')
  })

  it.each([
    ['', 'name of a file'],
    ['in/', 'name of a file'],
    ['in//x', 'empty folder name'],
    ['//in/x', 'empty folder name'],
    ['in/../x', '".."'],
    ['./x', '"."'],
    ['~/x', '"~"'],
    ['in/{attempt_number}', 'a retry would create another file'],
    ['in\\x', 'backslash'],
    ['{payload.a/b}', 'placeholder with a "/"'],
  ])('%j cannot be one', (path, problem) => {
    expect(pathProblem(path)).toContain(problem)
  })

  it.each([
    ['in/{data_type}/x', 'in'],
    ['/in/out/x', '/in/out'],
    ['{data_type}/x', ''],
    ['/{data_type}/x', '/'],
    ['{{a}}/{data_type}', '{a}'],
    ['x', ''],
  ])('%s is always in the folder %j', (path, directory) => {
    expect(fixedDirectory(path)).toBe(directory)
  })
})

describe('the configuration of SFTP', () => {
  const stated = { host: 'sftp.example.org', username: 'u', password: 'p', host_key: FINGERPRINT, path: 'in/x' }
  const issues = (given: Record<string, unknown>) =>
    sftpConfig
      .safeParse({ ...stated, ...given })
      .error?.issues.map(({ path, message }) => `${path.join('.')}: ${message}`)

  it('has defaults for all but five fields', () => {
    expect(sftpConfig.parse(stated)).toMatchObject({
      port: 22,
      if_exists: 'overwrite',
      create_directories: true,
      temporary_suffix: '.part',
      legacy_algorithms: false,
      timeout_seconds: 30,
    })
  })

  it.each([
    [{ host_key: undefined }, 'host_key: must be the fingerprint'],
    [{ host_key: 'MD5:00:11' }, 'host_key: must be the fingerprint'],
    [{ host_key: [] }, 'host_key: must be the fingerprint'],
    [{ password: undefined }, 'password: is required, or "private_key"'],
    [{ private_key: 'k' }, 'private_key: cannot be used together with "password"'],
    [{ passphrase: 'p' }, 'passphrase: is stated without a "private_key"'],
    [{ username: undefined }, 'username: is required'],
    [{ path: '../x' }, 'path: contains "." or ".." as a folder'],
    [{ path: 'in/{nothing}' }, 'path: has an unknown placeholder'],
    [{ file_mode: '0999' }, 'file_mode: must be three octal digits'],
    [{ temporary_suffix: '/../x' }, 'temporary_suffix: must be a dot'],
    [{ mode: '0640' }, 'Unrecognized key: "mode"'],
    [{ directory_mode: '4755' }, 'directory_mode: must be'],
  ])('rejects %j with the reason', (given, message) => {
    expect(issues(given)?.join('\n')).toContain(message)
  })

  it('may take the login from credentials', () => {
    const { username: _, password: __, ...rest } = stated
    expect(sftpConfig.safeParse({ ...rest, credentials: 'depot' }).success).toBe(true)
  })
})
