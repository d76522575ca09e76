import { randomBytes } from 'node:crypto'
import { chmodSync, existsSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { endProcess, isRunning, type ProcessId } from '../../../temporal-config/stack/processes.ts'
import { removeReachableFolder } from '../../../temporal-config/stack/reach.ts'
import { temporaryFolder } from '../../support/folders.ts'
import { type Program, runCommand } from '../../support/programs.ts'
import { describeWith, INSTALL_MS } from '../../support/receivers/needs.ts'

const STARTED_MS = 240_000
/** Whatever the machine's own settings are, nothing of them counts here. */
const BLANK = Object.fromEntries(
  ['DATABASE_URL', 'DATABASE_ADMIN_URL', 'TEMPORAL_ADDRESS', 'ENCRYPTION_KEYS', 'BOOTSTRAP_API_KEY'].map((name) => [
    name,
    '',
  ]),
)

interface Ready {
  api: string
  health: string
  metrics: string
  api_key_file: string
}

const describeAll = await describeWith('rabbitmq', 'versitygw', 'sshd', 'mailpit')

let dir: string
const programs: Program[] = []

beforeAll(() => {
  dir = temporaryFolder('programs')
  chmodSync(dir, 0o711)
})
afterAll(async () => {
  for (const program of programs) program.child.kill('SIGKILL')
  for (const folder of [dir, join(dir, 'demo')]) {
    const left = lock(folder)
    if (left) for (const id of [left.supervisor, ...Object.values(left.servers)]) await endProcess(id, [], 10_000)
    removeReachableFolder(join(folder, 'postgres'), 'postgres')
  }
  rmSync(dir, { recursive: true, force: true })
})

/** `npm run <script>` as a person calls it, on ports of its own. */
function npm(script: string, env: Record<string, string> = {}, args: string[] = []): Program {
  const program = runCommand('npm', ['run', script, '--', ...args], {
    ...BLANK,
    DATA_DIR: dir,
    API_PORT: '0',
    WORKER_PORT: '0',
    TEMPORAL_PORT: '0',
    TEMPORAL_UI_PORT: '0',
    DATABASE_PORT: '0',
    ...env,
  })
  programs.push(program)
  return program
}

async function ready(program: Program): Promise<Ready> {
  return JSON.parse(await program.line((line) => line.includes('"msg":"ready"')))
}

async function ended(program: Program, signal: NodeJS.Signals): Promise<number> {
  program.child.kill(signal)
  return await program.exited
}

interface Lock {
  holder: ProcessId
  supervisor: ProcessId
  servers: Record<string, ProcessId>
  addresses: { postgres: { port: number }; temporal: { ui_url: string; ports: number[] } }
}

function lock(folder = dir): Lock | undefined {
  const file = join(folder, 'lock.json')
  return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : undefined
}

async function call(
  api: string,
  path: string,
  body?: unknown,
): Promise<{ status: number; json: Record<string, unknown> }> {
  const response = await fetch(`${api}/api/v1${path}`, {
    method: body === undefined ? 'GET' : 'POST',
    headers: {
      'content-type': 'application/json',
      'x-api-key': readFileSync(join(dir, 'bootstrap-api-key'), 'utf8').trim(),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  return { status: response.status, json: (await response.json()) as Record<string, unknown> }
}

/** Loopback is allowed, but the service's own servers are still refused as destinations, by each API and each worker. */
async function expectOwnPortsShut(...apis: string[]): Promise<void> {
  const { postgres, temporal } = lock()!.addresses
  const shut = (issue: string) => ({ status: 400, json: { details: [{ issue, field: expect.any(String) }] } })
  for (const api of apis) {
    const ports = [postgres.port, ...temporal.ports, Number(new URL(temporal.ui_url).port), Number(new URL(api).port)]
    for (const port of ports) {
      const destinations = [{ name: 'own', protocol: 'REST', endpoint: `http:localhost:${port}/` }]
      const submitted = await call(api, '/distribution/submit', { data_type: 'report', payload: 1, destinations })
      expect(submitted).toMatchObject(shut('is a server of the Distributor itself'))
    }
  }
  const auth = { type: 'oauth2', client_id: 'c', client_secret: 's', token_url: `${temporal.ui_url}/` }
  const configuration = { endpoint: 'https://receiver.example/', auth }
  const { json } = await call(apis[0]!, '/destinations/register', { name: 'own', protocol: 'REST', configuration })
  for (let count = 0; count < 4; count++) {
    expect((await call(apis[0]!, `/destinations/${json.id}/test`, {})).json).toMatchObject({
      healthy: false,
      error_code: 'EGRESS_DENIED',
      error_message: expect.stringContaining('a server of the Distributor itself'),
    })
  }
}

/** Delivered nowhere: it waits for its time, for as long as the test lasts. */
async function submitForLater(api: string): Promise<string> {
  const { status, json } = await call(api, '/distribution/submit', {
    data_type: 'report',
    payload: { n: 1 },
    deliver_at: new Date(Date.now() + 86_400_000).toISOString(),
    destinations: [{ name: 'later', protocol: 'REST', endpoint: 'https://receiver.example/in' }],
  })
  expect(status).toBe(202)
  return String(json.distribution_id)
}

describe('what the scripts refuse', () => {
  it('bad settings, with one line per setting and exit code 1', async () => {
    const program = npm('start', { API_PORT: 'x', LOG_LEVEL: 'loud' })
    expect(await program.exited).toBe(1)
    const said = program.lines.filter((line) => /^[A-Z_]+: /.test(line))
    expect(said.map((line) => line.split(':')[0]).sort()).toEqual(['API_PORT', 'LOG_LEVEL'])
  })

  it('a taken API_PORT, by name, before anything is started', async () => {
    const server = createServer()
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as { port: number }
    const program = npm('start', { API_PORT: String(port), DATA_DIR: join(dir, 'never') })
    expect(await program.exited).toBe(1)
    expect(program.lines).toContainEqual(expect.stringMatching(new RegExp(`^API_PORT: 127.0.0.1:${port} is taken`)))
    expect(existsSync(join(dir, 'never'))).toBe(false)
    server.close()
  })

  it.each(['api', 'worker'])('the %s alone without addresses, by the names of the settings', async (half) => {
    const program = npm(half, { DATA_DIR: join(dir, 'nothing-runs-here') })
    expect(await program.exited).toBe(1)
    expect(program.lines).toContainEqual(expect.stringMatching(/^DATABASE_URL: is required/))
    expect(program.lines).toContainEqual(expect.stringMatching(/^TEMPORAL_ADDRESS: is required/))
  })

  it('nothing with --help, which lists the settings', async () => {
    const program = npm('start', {}, ['--help'])
    expect(await program.exited).toBe(0)
    expect(program.lines).toContainEqual(expect.stringMatching(/^ {2}EGRESS_ALLOW {2,}\S/))
  })

  it('nothing with --help, which lists the arguments of the program too', async () => {
    const program = npm('demo', {}, ['--help'])
    expect(await program.exited).toBe(0)
    expect(program.lines).toContainEqual(expect.stringMatching(/^ {2}--exit {2,}\S/))
  })

  it.each(['start', 'api', 'worker', 'demo'])(
    'nothing with an argument that npm run %s does not know',
    async (name) => {
      const program = npm(name, {}, ['--API_PORT=9'])
      expect(await program.exited).toBe(1)
      expect(program.lines).toContainEqual(expect.stringMatching(/^--API_PORT=9: is not known\./))
    },
  )
})

describe('npm start', () => {
  it('answers, keeps its keys to its owner, and finds everything again after SIGTERM and after a kill -9 of all', {
    timeout: STARTED_MS,
  }, async () => {
    const first = npm('start')
    const one = await ready(first)
    expect(one.api_key_file).toBe(join(dir, 'bootstrap-api-key'))
    for (const name of ['bootstrap-api-key', 'encryption-keys', 'callback-secret', 'lock.json']) {
      expect(statSync(join(dir, name)).mode & 0o777).toBe(0o600)
    }
    const id = await submitForLater(one.api)
    const { servers } = lock()!
    expect(await ended(first, 'SIGTERM')).toBe(0)
    expect(lock()).toBeUndefined()
    // As in a new DATA_DIR after a restore: the database has the secret that receivers know, and the file does not.
    const secretFile = join(dir, 'callback-secret')
    const secret = readFileSync(secretFile, 'utf8')
    expect(secret).toMatch(/^whsec_/)
    rmSync(secretFile)
    expect(Object.keys(servers).sort()).toEqual(['postgres', 'temporal'])

    const second = npm('start')
    const two = await ready(second)
    expect((await call(two.api, `/distribution/${id}/status`)).json).toMatchObject({ status: 'pending' })
    expect(readFileSync(secretFile, 'utf8')).toBe(secret)
    expect(statSync(secretFile).mode & 0o777).toBe(0o600)
    writeFileSync(secretFile, `whsec_${key()}\n`)
    const killed = lock()!
    for (const process_ of [killed.holder, killed.supervisor, ...Object.values(killed.servers)]) {
      process.kill(process_.pid, 'SIGKILL')
    }
    await second.exited

    const third = npm('start')
    const three = await ready(third)
    expect(readFileSync(secretFile, 'utf8')).toBe(secret)
    expect((await call(three.api, `/distribution/${id}/status`)).json).toMatchObject({ status: 'pending' })
    const cancelled = await call(three.api, `/distribution/${id}/cancel`, {})
    expect(cancelled.status).toBe(202)
    await expect
      .poll(async () => (await call(three.api, `/distribution/${id}/status`)).json.status, { timeout: 20_000 })
      .toBe('cancelled')
    expect(await ended(third, 'SIGINT')).toBe(0)

    const file = join(dir, 'encryption-keys')
    const right = readFileSync(file, 'utf8')
    writeFileSync(file, `k1:${key()}\n`)
    const other = npm('start')
    expect(await other.exited).toBe(1)
    expect(other.lines.filter((line) => /^\S+: |"level":"(error|fatal)"/.test(line))).toEqual([
      `ENCRYPTION_KEYS: the key k1 in ${file} is not the one that sealed the data, it only has the same id; put the old one there`,
    ])
    writeFileSync(file, right)
  })

  it('lets a second one know who holds the folder, serves the halves, and ends with its supervisor', {
    timeout: STARTED_MS,
  }, async () => {
    const allowed = { EGRESS_ALLOW: '127.0.0.0/8,::1/128' }
    const main = npm('start', allowed)
    const { api } = await ready(main)
    const second = npm('start')
    expect(await second.exited).toBe(1)
    const holder = expect.stringContaining(`is in use by npm start (pid ${lock()!.holder.pid}`)
    expect(second.lines).toContainEqual(holder)
    const samePort = npm('start', { API_PORT: new URL(api).port })
    expect(await samePort.exited).toBe(1)
    expect(samePort.lines).toContainEqual(expect.stringMatching(/^API_PORT: .* is taken/))
    expect(samePort.lines).toContainEqual(holder)

    const strong = npm('api', { DATABASE_URL: superuserUrl(), ENCRYPTION_KEYS: `k1:${key()}` })
    expect(await strong.exited).toBe(1)
    expect(strong.lines).toContainEqual(expect.stringMatching(/^DATABASE_URL: postgres is a superuser/))

    const keyless = npm('api', { ENCRYPTION_KEYS: `k9:${key()}` })
    expect(await keyless.exited).toBe(1)
    expect(keyless.lines).toContainEqual(expect.stringMatching(/^ENCRYPTION_KEYS: data is sealed under k1/))

    const client = new pg.Client({ connectionString: superuserUrl() })
    await client.connect()
    await client.query("update destination_types set id = 'OTHER' where id = 'EMAIL'")
    const unmigrated = npm('api')
    expect(await unmigrated.exited).toBe(1)
    expect(unmigrated.lines).toContain('DATABASE_URL: the schema lacks the protocol EMAIL; run npm run migrate')
    await client.query("update destination_types set id = 'EMAIL' where id = 'OTHER'")
    await client.end()

    const halves = [npm('api', { ...allowed, METRICS_PORT: '0' }), npm('worker', allowed)] as const
    const [apiHalf, workerHalf] = await Promise.all(halves.map(ready))
    const id = await submitForLater(apiHalf!.api)
    expect((await call(api, `/distribution/${id}/status`)).json).toMatchObject({ distribution_id: id })
    expect((await fetch(`${apiHalf!.api}/health/ready`)).status).toBe(200)
    expect((await fetch(workerHalf!.health)).status).toBe(200)
    const metrics = await (await fetch(workerHalf!.metrics)).text()
    expect(metrics).toContain('zenia_distribution_active_workers{worker_type="delivery"} 1')
    expect(metrics).toMatch(/^temporal_/m)
    expect(await (await fetch(apiHalf!.metrics)).text()).toContain('zenia_distribution_build_info')
    await expectOwnPortsShut(api, apiHalf!.api)
    expect(await Promise.all(halves.map((half) => ended(half, 'SIGTERM')))).toEqual([0, 0])

    const { supervisor, servers } = lock()!
    process.kill(supervisor.pid, 'SIGKILL')
    expect(await main.exited).toBe(1)
    expect(Object.values(servers).filter(isRunning)).toEqual([])
    expect(lock()).toBeUndefined()
  })
})

describeAll('npm run demo', () => {
  it('delivers to all its receivers and ends with 0', { timeout: INSTALL_MS }, async () => {
    const demo = npm('demo', { API_PORT: '8000' }, ['--exit'])
    expect(await demo.exited, demo.lines.join('\n')).toBe(0)
    const text = demo.lines.join('\n')
    expect(text).toMatch(/archive +success .* 200 +\d+ +identical/)
    expect(text).toMatch(/partner +success .* 503 503 200 +\d+ +identical/)
    expect(text).toMatch(/ms09-reporter +success .* 200 +\d+ +identical +verified/)
    expect(text).toContain('callback: arrived, signature verified')
    expect(text).toMatch(/First delivery \d+\.\d s after the start/)
    expect(text).toContain('The distribution is completed: 6 of 6 delivered')
    for (const [protocol, holds] of [
      ['REST', '1 request to '],
      ['AMQP', 'message in queue '],
      ['JDBC', '2 rows in table '],
      ['S3', 'object '],
      ['SFTP', 'file '],
      ['EMAIL', 'mail '],
    ] as const) {
      expect(text).toMatch(new RegExp(`demo-${protocol.toLowerCase()} +${protocol} +success +${holds}.*as submitted`))
    }
  })
})

function superuserUrl(): string {
  return JSON.parse(readFileSync(join(dir, 'lock.json'), 'utf8')).addresses.postgres.url.replace(
    /\/postgres$/,
    '/distributor',
  )
}

function key(): string {
  return randomBytes(32).toString('base64')
}
