// How JDBC comes to its connections: TLS that is verified, servers that stop or die, and servers that ask for too much.

import { generateKeyPairSync, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { type AddressInfo, connect, createServer } from 'node:net'
import { afterAll, afterEach, beforeAll, beforeEach, expect, it, describe as suite } from 'vitest'
import { jdbc } from '../../../activities/destinations/jdbc/index.ts'
import { createEgress } from '../../../activities/destinations/network/egress.ts'
import { LIMITS } from '../../../db/limits.ts'
import { type Conversation, converse } from '../../support/conversation.ts'
import { DATABASE_KINDS, startDatabase, type TestDatabaseServer } from '../../support/receivers/databases.ts'
import { certificate } from '../../support/receivers/http.ts'
import { describeWith, INSTALL_MS } from '../../support/receivers/needs.ts'
import {
  mysqlGreeting,
  mysqlOk,
  mysqlPacket,
  postgresMessage,
  type StrangeServer,
  startStrangeServer,
} from '../../support/receivers/strange-databases.ts'
import { failureOf, never, SECRET, surroundings } from './contract.ts'
import { aConfig, aPayload, send } from './writing-rows.ts'

/** Every name is this machine. */
const named = {
  egress: createEgress({
    allow: ['127.0.0.0/8'],
    lookup: async () => [{ address: '127.0.0.1', family: 4 }],
  }),
}

for (const kind of DATABASE_KINDS) {
  const describe = await describeWith(...(kind === 'MariaDB' ? (['mariadb'] as const) : []))
  const isPostgres = kind === 'PostgreSQL'

  describe(`connections to ${kind}`, () => {
    const tls = { ca: certificate('ca.pem') }
    let server: TestDatabaseServer
    let conversation: Conversation
    let table: string
    let tables = 0
    let stopped: number[] = []

    beforeAll(async () => {
      const identity = {
        certificate: certificate('server.pem'),
        key: certificate('server.key'),
        ca: certificate('ca.pem'),
      }
      server = await startDatabase(kind, { password: SECRET, tls: identity })
    }, INSTALL_MS)
    afterAll(() => server?.close())
    beforeEach(async () => {
      tables += 1
      table = `t${tables}`
      conversation = await converse({ host: '127.0.0.1', port: server.port })
      await server.ask(`create table ${table} (id integer primary key, name varchar(200))`)
    })
    afterEach(async () => {
      resume()
      await conversation.close()
    })

    const read = () => server.ask(`select * from ${table} order by id`)
    const plain = (given: Record<string, unknown> = {}) =>
      aConfig({ url: server.url({ port: conversation.port }), table, ...given })
    const secure = (
      given: Record<string, unknown> = {},
      detour: { host?: string; port?: number; parameters?: string } = {},
    ) => aConfig({ url: server.url({ parameters: '', ...detour }), table, tls, ...given })
    const fresh = (id: number) => aPayload({ id, name: 'x' }, { tenant_id: randomUUID() })

    /** The sessions of the product at the server, and what its table knows of them. */
    const sessions = async () =>
      (
        await server.ask(
          isPostgres
            ? "select pid from pg_stat_activity where usename = 'distributor'"
            : "select id as pid from information_schema.processlist where user = 'distributor'",
          'admin',
        )
      ).map(({ pid }) => Number(pid))

    async function pause(): Promise<void> {
      stopped = isPostgres ? [...(await sessions()), server.pid()] : [server.pid()]
      for (const pid of stopped) process.kill(pid, 'SIGSTOP')
      // A signal takes a moment, in which an answer may still slip out.
      for (const pid of stopped) await expect.poll(() => threadStates(pid)).toMatch(/^[Tt]+$/)
    }
    function resume(): void {
      for (const pid of stopped.splice(0)) process.kill(pid, 'SIGCONT')
    }

    suite('with TLS', () => {
      it('is encrypted and verified unless the URL says otherwise', async () => {
        const question = isPostgres
          ? `select case when ssl then version else '' end as version from pg_stat_ssl join pg_stat_activity using (pid) where usename = 'distributor' and application_name = 'mine'`
          : `select name as version from ${table}`
        if (!isPostgres) {
          await server.ask(`create trigger cipher_${tables} before insert on ${table} for each row set new.name =
            (select variable_value from information_schema.session_status where variable_name = 'Ssl_version')`)
        }
        await send(secure({}, isPostgres ? { parameters: 'ApplicationName=mine' } : {}), fresh(1))
        expect(await server.ask(question, 'admin')).toEqual([{ version: expect.stringMatching(/^TLSv1\.[23]$/) }])
      })

      it.each(
        isPostgres ? ['', 'sslmode=require', 'sslmode=verify-ca'] : ['', 'sslMode=REQUIRED', 'sslMode=VERIFY_CA'],
      )('with "%s" an authority that nobody trusts is no secure connection', async (parameters) => {
        const config = secure({ tls: {} }, { parameters })
        const error = await failureOf(send(config, fresh(1)))
        expect(error).toMatchObject({ code: 'DESTINATION_UNAVAILABLE', retryable: true })
        expect(await failureOf(jdbc.probe(config as never, never, named))).toMatchObject({ code: error.code })
        expect(await read()).toEqual([])
      })

      it('a name that is not in the certificate is refused, unless the name in it is given or left out', async () => {
        const detour = { host: 'wrong.test' }
        const error = await failureOf(send(secure({}, detour), fresh(1), { around: named }))
        expect(error).toMatchObject({ code: 'DESTINATION_UNAVAILABLE' })
        expect(await read()).toEqual([])
        await send(secure({ tls: { ...tls, server_name: 'receiver.example' } }, detour), fresh(2), { around: named })
        await send(secure({}, { host: 'localhost' }), fresh(3), { around: named })
        const parameters = isPostgres ? 'sslmode=verify-ca' : 'sslMode=VERIFY_CA'
        await send(secure({}, { ...detour, parameters }), fresh(4), { around: named })
        expect((await read()).map(({ id }) => id)).toEqual(['2', '3', '4'])
      })

      it('an address that is not in the certificate is refused', async () => {
        const proxy = createServer((inbound) => {
          const outbound = connect({ host: '127.0.0.1', port: server.port })
          inbound.on('error', () => outbound.destroy()).pipe(outbound)
          outbound.on('error', () => inbound.destroy()).pipe(inbound)
        })
        proxy.listen(0, '127.0.0.2')
        await once(proxy, 'listening')
        const { port } = proxy.address() as AddressInfo
        const error = await failureOf(send(secure({}, { host: '127.0.0.2', port }), fresh(1)))
        expect(error).toMatchObject({ code: 'DESTINATION_UNAVAILABLE' })
        expect(await read()).toEqual([])
        proxy.close()
      })

      it('a client shows its certificate to a server that wants one', async () => {
        const username = `certified_${tables}`
        if (isPostgres) {
          const [file] = await server.ask('show hba_file', 'admin')
          const path = file!.hba_file!
          const rule = `hostssl all ${username} 127.0.0.1/32 scram-sha-256 clientcert=verify-ca\n`
          writeFileSync(path, rule + readFileSync(path, 'utf8'))
          await server.ask(`create role ${username} login password '${SECRET}'`, 'admin')
          await server.ask(`grant insert on ${table} to ${username}`, 'admin')
          await server.ask(`grant create on schema public to ${username}`, 'admin')
          await server.ask('select pg_reload_conf()', 'admin')
        } else {
          await server.ask(`create user ${username}@'%' identified by '${SECRET}' require x509`, 'admin')
          await server.ask(`grant all on reports.* to ${username}@'%'`, 'admin')
        }
        const given = { username, ledger_table: `ledger_${tables}` }
        const shown = { client_certificate: certificate('client.pem'), client_key: certificate('client-encrypted.key') }
        const opened = { ...tls, ...shown, client_key_passphrase: 'open-sesame' }
        const deliver = () => send(secure({ ...given, tls: opened }), fresh(1))
        // PostgreSQL reads its rules anew a moment after it was told to.
        await expect
          .poll(() =>
            failureOf(send(secure(given), fresh(9))).then(
              ({ code }) => code,
              () => 'let in',
            ),
          )
          .toBe('UNAUTHORIZED')
        await server.ask(`delete from ${table}`)
        await deliver()
        expect(await read()).toEqual([{ id: '1', name: 'x' }])
      })

      it('a certificate that cannot be read is MISCONFIGURED', async () => {
        const error = await failureOf(
          send(secure({ tls: { client_certificate: 'none', client_key: 'none' } }), fresh(1)),
        )
        expect(error).toMatchObject({ code: 'MISCONFIGURED', retryable: false })
      })
    })

    suite('that last', () => {
      it('one serves many deliveries of a tenant, and no other tenant', async () => {
        await send(plain(), aPayload({ id: 1 }))
        await send(plain(), aPayload({ id: 2 }))
        expect(conversation.connections.total).toBe(1)
        await send(plain(), aPayload({ id: 3 }, { tenant_id: 'other' }))
        expect(conversation.connections.total).toBe(2)
      })

      it('one that the server ends while it is idle raises nothing, and is replaced', async () => {
        await send(plain(), aPayload({ id: 1 }))
        for (const pid of await sessions()) {
          await server.ask(isPostgres ? `select pg_terminate_backend(${pid})` : `kill ${pid}`, 'admin').catch(() => {})
        }
        await conversation.idle()
        await send(plain(), aPayload({ id: 2 }))
        expect(conversation.connections.total).toBe(2)
        expect(await read()).toHaveLength(2)
      })

      it('one that the server ends in the middle costs an attempt', async () => {
        await server.ask(`insert into ${table} values (1, 'old')`)
        const blocker = await server.session('admin')
        await blocker.ask('start transaction')
        await blocker.ask(`update ${table} set name = 'theirs' where id = 1`)
        const config = plain({ mode: 'upsert', key_columns: ['id'] })
        const attempt = failureOf(send(config, aPayload({ id: 1, name: 'ours' })))
        await expect
          .poll(async () => (await server.ask(waiting(isPostgres), 'admin')).length, { interval: 150 })
          .toBe(1)
        for (const pid of await sessions()) {
          await server.ask(isPostgres ? `select pg_terminate_backend(${pid})` : `kill ${pid}`, 'admin')
        }
        expect(await attempt).toMatchObject({ code: 'DESTINATION_UNAVAILABLE', retryable: true })
        await blocker.ask('rollback')
        await blocker.end()
        await send(config, aPayload({ id: 1, name: 'ours' }))
        expect(await read()).toEqual([{ id: '1', name: 'ours' }])
      })

      it('a server paused between deliveries: in time, client destroyed, the next one is new', async () => {
        const config = plain({ timeout_seconds: 2 })
        await send(config, aPayload({ id: 1 }))
        await pause()
        const message = aPayload({ id: 2 })
        const began = performance.now()
        const error = await failureOf(send(config, message))
        expect(error).toMatchObject({ code: 'TIMEOUT', retryable: true })
        expect(performance.now() - began).toBeLessThan(5_000)
        // The idle one that gave no answer, and the new one that got no greeting: neither is left.
        await conversation.idle(2_000)
        expect(conversation.connections.total).toBe(2)
        resume()
        await send(config, { ...message, attempt_number: 2 })
        expect(conversation.connections.total).toBe(3)
        expect((await read()).map(({ id }) => id)).toEqual(['1', '2'])
      })

      it('a server paused in the middle of one: in time, client destroyed, the next one writes once', async () => {
        await server.ask(`insert into ${table} values (1, 'old')`)
        const blocker = await server.session('admin')
        await blocker.ask('start transaction')
        await blocker.ask(`update ${table} set name = 'theirs' where id = 1`)
        const config = { mode: 'upsert', key_columns: ['id'] }
        const message = aPayload({ id: 1, name: 'ours' })
        const attempt = failureOf(send(plain({ ...config, timeout_seconds: 2 }), message))
        await expect
          .poll(async () => (await server.ask(waiting(isPostgres), 'admin')).length, { interval: 150 })
          .toBe(1)
        await pause()
        expect(await attempt).toMatchObject({ code: 'TIMEOUT', retryable: true })
        await conversation.idle(2_000)
        expect(conversation.connections.total).toBe(1)
        resume()
        await blocker.ask('rollback')
        await blocker.end()
        await send(plain(config), { ...message, attempt_number: 2 })
        expect(conversation.connections.total).toBe(2)
        expect(await read()).toEqual([{ id: '1', name: 'ours' }])
      })
    })

    suite('with parameters', () => {
      if (isPostgres)
        it('currentSchema is where tables are looked for', async () => {
          await server.ask(`create schema elsewhere create table only_here (id integer)`)
          const url = server.url({
            parameters: 'sslmode=disable&currentSchema=elsewhere,public&ApplicationName=My%20App',
          })
          await send(aConfig({ url, table: 'only_here' }), aPayload({ id: 1 }))
          expect(await server.ask('select id from elsewhere.only_here')).toEqual([{ id: '1' }])
          const [session] = await server.ask(
            "select 1 as one from pg_stat_activity where application_name = 'My App'",
            'admin',
          )
          expect(session).toEqual({ one: '1' })
        })

      if (!isPostgres)
        it('connectionTimeZone is what columns without a zone are written in', async () => {
          await server.ask(`alter table ${table} add at_time datetime, add at_moment timestamp null`)
          const url = server.url({ parameters: 'sslMode=disable&connectionTimeZone=%2B02:00' })
          const at = '2026-06-01T10:00:00Z'
          await send(aConfig({ url, table }), aPayload({ id: 1, at_time: at, at_moment: at }))
          expect(await server.ask(`select at_time, at_moment from ${table}`)).toEqual([
            { at_time: '2026-06-01 12:00:00', at_moment: '2026-06-01 10:00:00' },
          ])
        })

      if (!isPostgres)
        it('values are refused, not bent, also where the server is lax', async () => {
          await server.ask("set global sql_mode = ''", 'admin')
          try {
            const error = await failureOf(send(plain(), aPayload({ id: 'no number' }, { tenant_id: randomUUID() })))
            expect(error).toMatchObject({ code: 'REJECTED' })
          } finally {
            await server.ask('set global sql_mode = default', 'admin')
          }
        })

      if (!isPostgres)
        it('a table whose engine has no transactions is MISCONFIGURED', async () => {
          await server.ask(`create table lax_${tables} (id integer) engine = MyISAM`)
          const error = await failureOf(send(plain({ table: `lax_${tables}` }), aPayload({ id: 1 })))
          expect(error).toMatchObject({ code: 'MISCONFIGURED', retryable: false })
        })
    })

    it('a probe sees a table and a database that are not there', async () => {
      const probe = (given: Record<string, unknown>) => failureOf(jdbc.probe(plain(given) as never, never, named))
      expect(await probe({ table: 'no_such_table' })).toMatchObject({ code: 'MISCONFIGURED', retryable: false })
      const url = server.url().replace('/reports', '/no_such_database')
      expect(await probe({ url })).toMatchObject({
        code: isPostgres ? 'MISCONFIGURED' : 'UNAUTHORIZED',
        retryable: false,
      })
    })
  })
}

/** A letter for each thread of a process, as Linux has them; T is stopped. */
function threadStates(pid: number): string {
  return readdirSync(`/proc/${pid}/task`)
    .map((thread) => readFileSync(`/proc/${pid}/task/${thread}/stat`, 'utf8').replace(/^.*\) /s, '')[0])
    .join('')
}

function waiting(isPostgres: boolean): string {
  return isPostgres
    ? "select 1 as one from pg_stat_activity where wait_event_type = 'Lock' and usename = 'distributor'"
    : "select 1 as one from information_schema.innodb_trx where trx_state = 'LOCK WAIT'"
}

/** The head of an answer, and then one description of a column after the other. */
function endless(): Buffer {
  const columns = Array.from({ length: 18 }, (_, index) =>
    mysqlPacket(index + 2, '\x03def\0\0\0\0\0'.padEnd(1024 * 1024, '\0')),
  )
  return Buffer.concat([mysqlPacket(1, Buffer.from([0xfc, 0xff, 0x0f])), ...columns])
}

const MIB = 1024 * 1024
const ENDLESS = `the database sent more than ${LIMITS.databaseAnswer.value} bytes in one answer`

suite('servers that ask for too much', () => {
  let server: StrangeServer | undefined
  afterEach(() => server?.close())

  async function at(
    kind: 'postgresql' | 'mysql',
    parameters: string,
    script: Parameters<typeof startStrangeServer>[0],
    act: 'deliver' | 'probe' = 'deliver',
  ): Promise<Awaited<ReturnType<typeof failureOf>>> {
    server = await startStrangeServer(script)
    const url = `jdbc:${kind}://127.0.0.1:${server.port}/reports?${parameters}`
    const config = aConfig({ url, table: 't', timeout_seconds: 5 })
    const error = await failureOf(
      act === 'probe' ? jdbc.probe(config as never, never, surroundings) : send(config, aPayload({ id: 1 })),
    )
    await server.left()
    return error
  }

  it('PostgreSQL: no password in plain text', async () => {
    const error = await at('postgresql', 'sslmode=disable', { answers: [postgresMessage('R', 3)] })
    expect(error).toMatchObject({ code: 'UNAUTHORIZED', retryable: false })
    expect(server!.received().toString('latin1')).not.toContain(SECRET)
  })

  it('PostgreSQL: no password in plain text, also when the question comes in pieces', async () => {
    const words = Buffer.concat([postgresMessage('N', 'SNOTICE\0\0'), postgresMessage('R', 3)])
    const error = await at('postgresql', 'sslmode=disable', {
      answers: [[words.subarray(0, 3), words.subarray(3, 17), words.subarray(17, 20), words.subarray(20)]],
    })
    expect(error).toMatchObject({ code: 'UNAUTHORIZED' })
    expect(server!.received().toString('latin1')).not.toContain(SECRET)
  })

  it('PostgreSQL: no hashing without end', async () => {
    const began = performance.now()
    const error = await at('postgresql', 'sslmode=disable', {
      answers: [
        postgresMessage('R', 10, 'SCRAM-SHA-256\0\0'),
        (words) => {
          const nonce = /r=(.*)$/s.exec(words.toString('latin1'))![1]!
          return postgresMessage('R', 11, `r=${nonce}x,s=c2FsdA==,i=2147483647`)
        },
      ],
    })
    expect(error).toMatchObject({ code: 'UNAUTHORIZED', retryable: false })
    expect(performance.now() - began).toBeLessThan(3_000)
  })

  it.each([
    ['a description of rows that never ends', postgresMessage('T', Buffer.from([0, 1]), 'name')],
    ['a wish for a copy', postgresMessage('G', Buffer.from([0, 0, 0]))],
    ['half of a question for the password', postgresMessage('R', Buffer.from([0]))],
    ['a login after the login', postgresMessage('R', 5, 'salt')],
    ['a message that is shorter than nothing', Buffer.from('Z\0\0\0\0')],
  ])('PostgreSQL: %s ends the connection, and nothing else', async (_title, words) => {
    const loggedIn = Buffer.concat([postgresMessage('R', 0), postgresMessage('Z', 'I')])
    const error = await at('postgresql', 'sslmode=disable', { answers: [loggedIn, words] })
    expect(error).toMatchObject({ code: 'DESTINATION_UNAVAILABLE', retryable: true })
  })

  it('MySQL: half of an error that nobody asked for ends the connection, and nothing else', async () => {
    const half = Buffer.concat([mysqlOk(1), mysqlPacket(0, Buffer.from([0xff]))])
    const error = await at('mysql', 'sslMode=DISABLED', { greeting: mysqlGreeting(), answers: [mysqlOk(2), half] })
    expect(error).toMatchObject({ code: 'DESTINATION_UNAVAILABLE', retryable: true })
  })

  it.each([
    ['postgresql', 'sslmode=disable', { answers: [postgresMessage('N', 'S'.repeat(17 * 1024 * 1024))] }],
    ['mysql', 'sslMode=DISABLED', { greeting: mysqlGreeting(), answers: [mysqlOk(2), endless()] }],
  ] as const)('%s: an answer without end ends the connection', async (kind, parameters, script) => {
    const error = await at(kind, parameters, { ...script, answers: [...script.answers] })
    expect(error).toMatchObject({ code: 'DESTINATION_UNAVAILABLE', retryable: true, message: ENDLESS })
  })

  // Of the protocol, a packet of the longest length, to which the next one belongs.
  const flood = { piece: Buffer.alloc(256 * 1024, 0xff), most: 128 * MIB }
  it.each([
    ['before the login', { greeting: flood, answers: [] }],
    ['in place of the answer to the login', { greeting: mysqlGreeting(), answers: [flood] }],
    ['after the login', { greeting: mysqlGreeting(), answers: [mysqlOk(2), flood] }],
  ])('MySQL: a packet without end %s ends a delivery and a probe', async (_title, script) => {
    for (const act of ['deliver', 'probe'] as const) {
      const error = await at('mysql', 'sslMode=DISABLED', { ...script, answers: [...script.answers] }, act)
      expect(error).toMatchObject({ code: 'DESTINATION_UNAVAILABLE', retryable: true, message: ENDLESS })
      // The system holds some megabytes for each side.
      expect(server!.sent()).toBeLessThan(48 * MIB)
      await server!.close()
    }
  })

  it.each([
    ['has no TLS', 'N'],
    ['puts words before it', 'SR\0\0\0\b\0\0\0\0'],
  ])('PostgreSQL: a server that %s hears nothing in plain text', async (_title, answer) => {
    const error = await at('postgresql', '', { answers: [Buffer.from(answer, 'latin1')] })
    expect(error).toMatchObject({ code: 'DESTINATION_UNAVAILABLE', retryable: true })
    expect(server!.received().toString('hex')).toBe('0000000804d2162f')
  })

  it('MySQL: a server without TLS hears nothing in plain text', async () => {
    const error = await at('mysql', '', { greeting: mysqlGreeting(), answers: [] })
    expect(error).toMatchObject({ code: 'DESTINATION_UNAVAILABLE', retryable: true })
    expect(server!.received()).toHaveLength(0)
  })

  it('MySQL: no password in plain text', async () => {
    const answers = [mysqlPacket(2, Buffer.from([0xfe]), 'mysql_clear_password\0')]
    const error = await at('mysql', 'sslMode=DISABLED', { greeting: mysqlGreeting(), answers })
    expect(error).toMatchObject({ code: 'UNAUTHORIZED', retryable: false })
    expect(server!.received().toString('latin1')).not.toContain(SECRET)
  })

  it.each(['caching_sha2_password', 'sha256_password'])(
    'MySQL: no password under a key that %s sends, unless the URL allows it',
    async (plugin) => {
      const key = generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey.export({ type: 'spki', format: 'pem' })
      const question = plugin === 'sha256_password' ? [] : [mysqlPacket(4, Buffer.from([1, 4]))]
      const number = 4 + 2 * question.length
      const answers = [
        mysqlPacket(2, Buffer.from([0xfe]), `${plugin}\0`, 'abcdefghijklmnopqrst\0'),
        ...question,
        mysqlPacket(number, Buffer.from([1]), String(key)),
      ]
      const script = { greeting: mysqlGreeting(), answers: [...answers] }
      const error = await at('mysql', 'sslMode=DISABLED', script)
      expect(error).toMatchObject({ code: 'UNAUTHORIZED', retryable: false })
      const told = server!.received().length
      await server!.close()
      const refusal = mysqlPacket(number + 2, Buffer.from([0xff, 0x15, 0x04]), '#28000Access denied')
      const allowed = { ...script, answers: [...answers, refusal] }
      expect(await at('mysql', 'sslMode=DISABLED&allowPublicKeyRetrieval=true', allowed)).toMatchObject({
        code: 'UNAUTHORIZED',
      })
      // 256 bytes under a key of 2048 bits, which the first server was not sent.
      expect(server!.received().length).toBe(told + 4 + 256)
    },
  )

  it('MySQL: no file of this machine', async () => {
    const file = mysqlPacket(1, Buffer.from([0xfb]), '/etc/passwd')
    const error = await at('mysql', 'sslMode=DISABLED', { greeting: mysqlGreeting(), answers: [mysqlOk(2), file] })
    expect(error).toMatchObject({ code: 'REJECTED', retryable: false })
    expect(error.message).toContain('asked for a local file')
    expect(server!.received().toString('latin1')).not.toContain('root:')
  })
})
