// What a JDBC configuration may say: URLs and their parameters, names, paths, and fields that belong together.
import { describe, expect, it } from 'vitest'
import { jdbcConfig } from '../../../activities/destinations/jdbc/config.ts'
import { parseTableName } from '../../../activities/destinations/jdbc/identifiers.ts'
import { parseJson } from '../../../activities/destinations/jdbc/json.ts'
import { parsePath, valueAt } from '../../../activities/destinations/jdbc/paths.ts'
import { parseJdbcUrl } from '../../../activities/destinations/jdbc/url.ts'
import { reachedHosts } from '../../../activities/destinations/secrets/secret.ts'

const BASE = { url: 'jdbc:postgresql://db.example/reports', username: 'u', password: 'p', table: 't' }

/** What is wrong, by field. */
function issues(given: Record<string, unknown>): [field: string, message: string][] {
  const result = jdbcConfig.safeParse({ ...BASE, ...given })
  return result.success ? [] : result.error.issues.map(({ path, message }) => [path.join('.'), message])
}

const urlIssue = (url: string) => issues({ url }).map(([, message]) => message)

describe('the URL of a JDBC destination', () => {
  it.each([
    [
      'jdbc:postgresql://db.example/reports',
      { kind: 'postgresql', host: 'db.example', port: 5432, database: 'reports' },
    ],
    ['jdbc:postgresql://db.example:6432/a%20b', { kind: 'postgresql', port: 6432, database: 'a b' }],
    ['jdbc:postgresql://[2001:db8::1]:5433/x', { host: '2001:db8::1', port: 5433 }],
    ['jdbc:mysql://10.0.0.1/reports', { kind: 'mysql', host: '10.0.0.1', port: 3306, database: 'reports' }],
    ['jdbc:mariadb://db.example:3307/reports?', { kind: 'mariadb', port: 3307 }],
    ['JDBC:MySQL://db.example/reports', { kind: 'mysql' }],
  ])('%s is read', (url, expected) => {
    expect(parseJdbcUrl(url)).toMatchObject(expected)
    expect(urlIssue(url)).toEqual([])
  })

  it.each([
    [
      'postgres://db.example/reports',
      'must begin with jdbc:; supported are jdbc:postgresql:, jdbc:mysql: and jdbc:mariadb:',
    ],
    [
      'jdbc:oracle:thin:@//db.example:1521/x',
      'jdbc:oracle: is not supported; supported are jdbc:postgresql:, jdbc:mysql: and jdbc:mariadb:',
    ],
    [
      'jdbc:sqlserver://db.example;databaseName=x',
      'jdbc:sqlserver: is not supported; supported are jdbc:postgresql:, jdbc:mysql: and jdbc:mariadb:',
    ],
    ['jdbc:h2:mem:x', 'jdbc:h2: is not supported; supported are jdbc:postgresql:, jdbc:mysql: and jdbc:mariadb:'],
    ['jdbc:postgresql:reports', 'must have the form jdbc:postgresql://host:port/database?parameter=value'],
    ['jdbc:mysql:loadbalance://a/b', 'must have the form jdbc:mysql://host:port/database?parameter=value'],
    ['jdbc:postgresql://db.example', 'must name one database after the host'],
    ['jdbc:postgresql:///reports', 'must name a host'],
    ['jdbc:postgresql://a,b/reports', 'must name one host'],
    ['jdbc:mysql://(host=a,port=1)/reports', 'must name one host'],
    ['jdbc:postgresql://db.example:99999/reports', 'has a port outside of 1 to 65535'],
    [
      'jdbc:postgresql://me:zq7secret@db.example/x',
      'must not contain credentials; use the fields "username" and "password"',
    ],
    ['jdbc:postgresql://db.example/x?user=me', 'must not contain the parameter user: use the field "username"'],
    [
      'jdbc:mysql://db.example/x?password=zq7secret',
      'must not contain the parameter password: use the field "password"',
    ],
    ['jdbc:postgresql://{payload.host}/x', 'must not contain placeholders: the payload must not choose the server'],
    ['jdbc:postgresql://db.example/%zz', 'has an invalid percent-encoding'],
    ['jdbc:postgresql://db.example/a b', 'has a space, a backslash or a control character'],
    [
      'jdbc:postgresql://db.example/x?sslmod=disable',
      'has the unknown parameter sslmod; the nearest known one is sslmode',
    ],
    ['jdbc:mysql://db.example/x?useSSl=false', 'has the unknown parameter useSSl; the nearest known one is useSSL'],
    [
      'jdbc:mysql://db.example/x?sslmode=disable',
      'has the unknown parameter sslmode; the nearest known one is sslMode',
    ],
    ['jdbc:mysql://db.example/x?useSSL=true&useSSL=false', 'has the parameter useSSL twice'],
    [
      'jdbc:postgresql://db.example/x?sslmode=prefer',
      'parameter sslmode: prefer allows plain text; use disable or verify-full',
    ],
    [
      'jdbc:mysql://db.example/x?sslMode=PREFERRED',
      'parameter sslMode: PREFERRED allows plain text; use DISABLED or VERIFY_IDENTITY',
    ],
    [
      'jdbc:postgresql://db.example/x?sslmode=verify-full&ssl=false',
      'parameter ssl: contradicts another parameter: one asks for TLS, the other for plain text',
    ],
    [
      'jdbc:mysql://db.example/x?useSSL=false&requireSSL=true',
      'parameter requireSSL: contradicts another parameter: one asks for TLS, the other for plain text',
    ],
    [
      'jdbc:mysql://db.example/x?verifyServerCertificate=false',
      'parameter verifyServerCertificate: certificates are always verified: give the authority in the field "tls"',
    ],
    [
      'jdbc:mariadb://db.example/x?trustServerCertificate=true',
      'parameter trustServerCertificate: certificates are always verified: give the authority in the field "tls"',
    ],
    [
      'jdbc:mysql://db.example/x?allowLoadLocalInfile=true',
      'parameter allowLoadLocalInfile: the server cannot read files of this machine',
    ],
    [
      'jdbc:postgresql://db.example/x?sslrootcert=/etc/ca',
      'parameter sslrootcert: files of this machine are not read: use the field "tls"',
    ],
    [
      'jdbc:mysql://db.example/x?characterEncoding=latin1',
      'parameter characterEncoding: text is always written as UTF-8',
    ],
    [
      'jdbc:mysql://db.example/x?connectionTimeZone=Europe/Berlin',
      'parameter connectionTimeZone: must be UTC or an offset such as +02:00',
    ],
  ])('%s is refused: %s', (url, message) => {
    expect(urlIssue(url)).toEqual([message])
    expect(message).not.toContain('zq7')
  })

  it.each([
    ['postgresql', '', 'verify-full'],
    ['postgresql', 'ssl=true', 'verify-full'],
    ['postgresql', 'ssl=false', 'disable'],
    ['postgresql', 'sslmode=disable', 'disable'],
    ['postgresql', 'sslmode=require', 'verify-full'],
    ['postgresql', 'sslmode=verify-ca', 'verify-ca'],
    ['postgresql', 'ssl=true&sslmode=verify-full', 'verify-full'],
    ['mysql', '', 'verify-full'],
    ['mysql', 'useSSL=true&requireSSL=true&verifyServerCertificate=true', 'verify-full'],
    ['mysql', 'useSSL=false', 'disable'],
    ['mysql', 'sslMode=DISABLED', 'disable'],
    ['mysql', 'sslMode=REQUIRED', 'verify-full'],
    ['mysql', 'sslMode=VERIFY_CA', 'verify-ca'],
    ['mariadb', 'sslMode=verify-full', 'verify-full'],
    ['mariadb', 'sslMode=disable', 'disable'],
  ])('%s with %s means %s', (kind, parameters, tls) => {
    expect(parseJdbcUrl(`jdbc:${kind}://db.example/x?${parameters}`).parameters.tls).toBe(tls)
  })

  it('knows the parameters that every driver has, and those that mean nothing here', () => {
    const url =
      'jdbc:postgresql://h/x?currentSchema=sales,public&ApplicationName=My%20App&options=-c%20work_mem%3D8MB&connectTimeout=5&reWriteBatchedInserts=true&prepareThreshold=0'
    expect(parseJdbcUrl(url).parameters).toMatchObject({
      current_schema: 'sales,public',
      application_name: 'My App',
      options: [['work_mem', '8MB']],
    })
    const mysql = parseJdbcUrl(
      'jdbc:mysql://h/x?serverTimezone=UTC%2B02:00&rewriteBatchedStatements=true&characterEncoding=UTF-8',
    )
    expect(mysql.parameters).toMatchObject({ time_zone: '+02:00' })
  })

  it.each([
    ['jdbc:postgresql://db.example:5432/x', 'db.example'],
    ['jdbc:mysql://169.254.169.254/x', '169.254.169.254'],
    ['jdbc:mariadb://[::ffff:169.254.169.254]:3306/x', '::ffff:169.254.169.254'],
    ['jdbc:postgresql://2852039166/x', '2852039166'],
    ['jdbc:oracle://me:secret@db.example/x', 'db.example'],
  ])('%s reaches %s, for all who ask', (url, host) => {
    expect(reachedHosts(jdbcConfig, { ...BASE, url })).toEqual([{ path: ['url'], host }])
  })
})

describe('the configuration of a JDBC destination', () => {
  it('has secure and useful defaults', () => {
    expect(jdbcConfig.parse(BASE)).toMatchObject({
      mode: 'insert',
      batch_size: 500,
      isolation_level: 'read_committed',
      timeout_seconds: 30,
      tls: {},
    })
  })

  it.each([
    [{ mode: 'upsert' }, 'key_columns', 'is required for mode upsert'],
    [{ key_columns: ['id'] }, 'key_columns', 'cannot be used with mode insert'],
    [
      { mode: 'upsert', key_columns: ['id'], columns: { a: 'b' } },
      'key_columns',
      'names "id", which "columns" does not fill',
    ],
    [
      { mode: 'ignore', delivery_id_column: 'd' },
      'delivery_id_column',
      'requires mode insert, because in other modes a later delivery may overwrite the row',
    ],
    [{ delivery_id_column: 'd', ledger_table: 'l' }, 'ledger_table', 'cannot be used with "delivery_id_column"'],
    [{ delivery_id_column: 'd', columns: { d: 'x' } }, 'delivery_id_column', 'is already filled by "columns"'],
    [{ columns: {} }, 'columns', 'must have a column; omit it to use the keys of each row'],
  ])('%j: %s %s', (given, field, message) => {
    expect(issues(given)).toEqual([[field, message]])
  })

  it.each([
    [{ table: 'a.b.c' }],
    [{ table: 'a."b' }],
    [{ table: '' }],
    [{ table: 'a\0b' }],
    [{ rows_path: 'a..b' }],
    [{ columns: { a: 'b[' } }],
    [{ columns: { a: { value: '{payload}' } } }],
    [{ columns: { a: { value: '{no_such}' } } }],
    [{ columns: { a: { path: 'x', value: 'y' } } }],
    [{ columns: { 'a\0': 'x' } }],
    [{ batch_size: 0 }],
    [{ isolation_level: 'none' }],
    [{ mode: 'replace' }],
    [{ colums: {} }],
    [{ password: undefined }],
  ])('%j is refused', (given) => {
    expect(issues(given)).not.toEqual([])
  })
})

describe('the name of a table', () => {
  it.each([
    ['orders', ['orders']],
    ['Sales.Orders', ['Sales', 'Orders']],
    ['"odd.name"."Ta""ble"', ['odd.name', 'Ta"ble']],
    ['`a``b`.c', ['a`b', 'c']],
    ['a b', ['a b']],
    ["x'; drop table y; --", ["x'; drop table y; --"]],
    ['a.b.c', undefined],
    ['.a', undefined],
    ['a.', undefined],
    ['"a"b', undefined],
    ['a"b', undefined],
    ['""', undefined],
  ])('%s is %j', (text, parts) => {
    expect(parseTableName(text)).toEqual(parts)
  })
})

describe('a path in a row', () => {
  const row = { a: { b: [{ c: 1 }, 2] }, 'x.y': { 'q"': 3 }, $id: 4, '0': 5 }
  it.each([
    ['a.b[0].c', 1],
    ['a.b[1]', 2],
    ['$.a.b[1]', 2],
    ['["x.y"]["q\\""]', 3],
    ['$id', 4],
    ['0', 5],
    ['$', row],
    ['a.b[2]', undefined],
    ['a.b.c', undefined],
    ['a[0]', undefined],
    ['a.constructor', undefined],
    ['a.__proto__', undefined],
    ['a.b.length', undefined],
  ])('%s finds %j', (path, expected) => {
    expect(valueAt(row, parsePath(path)!)).toEqual(expected)
  })

  it('finds nothing below a number', () => {
    const parsed = parseJson('{"n": 1.0}')
    for (const path of ['n.value', 'n.isLosslessNumber']) expect(valueAt(parsed, parsePath(path)!)).toBeUndefined()
  })

  it.each(['', '.', 'a.', '.a.', 'a..b', 'a[', 'a[x]', 'a[-1]', '["a]', 'a b.]'])('"%s" is none', (path) => {
    expect(parsePath(path)).toBeUndefined()
  })
})
