// A separate RabbitMQ: all its files are in one temporary folder, and all its processes end with it, also Erlang's port
// mapper.
import { execFile } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, mkdirSync, realpathSync, writeFileSync } from 'node:fs'
import { connect, createServer, type Server } from 'node:net'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { wholeEnvironment } from '../../../temporal-config/process/settings.ts'
import { freePort } from '../../../temporal-config/stack/ports.ts'
import { temporaryFolder } from '../folders.ts'
import { obtainProgram } from './programs.ts'
import { type Receiver, startReceiver } from './receiver.ts'

const execute = promisify(execFile)

export interface RabbitmqOptions {
  /** An administrator, with every permission in every virtual host. */
  user: string
  password: string
  /** Names, without any escaping; '/' is always there. */
  vhosts?: string[]
  /** PEM: opens a second port, for TLS. */
  tls?: {
    key: string
    cert: string
    /** Clients may show a certificate, and then one of this authority. */
    clients_ca?: string
  }
  say?: (line: string) => void
}

export interface Rabbitmq extends Receiver {
  /** 0 without `tls`. */
  tls_port: number
  /** Runs an Erlang expression inside the server and answers its value as Erlang writes it. */
  evaluate(expression: string): Promise<string>
}

export async function startRabbitmq(options: RabbitmqOptions): Promise<Rabbitmq> {
  const script = withoutWrapper(await obtainProgram('rabbitmq', options.say ?? (() => {})))
  const folder = temporaryFolder('rabbitmq')
  const [port, tlsPort, distributionPort] = [await freePort(0), options.tls ? await freePort(0) : 0, await freePort(0)]
  const portMapper = await startPortMapper()
  const node = `distributor_${port}@localhost`
  writeFiles(folder, options, port, tlsPort)
  const env = {
    PATH: `${wholeEnvironment().PATH ?? ''}:/usr/sbin:/usr/bin:/sbin:/bin`,
    LANG: 'C.UTF-8',
    // The cookie that lets Erlang nodes talk to each other is made here.
    HOME: folder,
    ERL_CRASH_DUMP: join(folder, 'crash.dump'),
    ERL_EPMD_PORT: String(portOf(portMapper)),
    ERL_FLAGS: '-start_epmd false',
  }
  // On failure, too, `atEnd` runs.
  const receiver = await startReceiver({
    name: 'RabbitMQ',
    folder,
    port,
    command: {
      program: script,
      args: [],
      stop_signals: ['SIGTERM'],
      env: {
        ...env,
        RABBITMQ_NODENAME: node,
        RABBITMQ_MNESIA_BASE: join(folder, 'data'),
        RABBITMQ_LOG_BASE: join(folder, 'log'),
        RABBITMQ_LOGS: '-',
        RABBITMQ_CONFIG_FILE: join(folder, 'rabbitmq.conf'),
        RABBITMQ_ADVANCED_CONFIG_FILE: join(folder, 'advanced.config'),
        RABBITMQ_CONF_ENV_FILE: join(folder, 'environment'),
        RABBITMQ_ENABLED_PLUGINS_FILE: join(folder, 'plugins'),
        RABBITMQ_DIST_PORT: String(distributionPort),
        // The script then becomes the server, in place of watching over it: signals and its starter's end reach it.
        RABBITMQ_ALLOW_INPUT: '1',
        RABBITMQ_SERVER_START_ARGS: [
          '-noinput',
          `-erl_epmd_port ${distributionPort}`,
          '-kernel inet_dist_use_interface {127,0,0,1}',
          '+S 2:2 +SDcpu 1:1 +SDio 2 +A 2',
        ].join(' '),
      },
    },
    answers: () => greets(port),
    atEnd: () => {
      portMapper.close()
    },
  })
  return {
    ...receiver,
    tls_port: tlsPort,
    async evaluate(expression) {
      const call = `
        {ok, Tokens, _} = erl_scan:string(${erlangString(`${expression}.`)}),
        {ok, Parsed} = erl_parse:parse_exprs(Tokens),
        case rpc:call('${node}', erl_eval, exprs, [Parsed, []]) of
          {value, Value, _} -> io:format("~tp", [Value]), halt(0);
          Failed -> io:format(standard_error, "~tp", [Failed]), halt(1)
        end.`
      const name = `caller_${randomBytes(6).toString('hex')}@localhost`
      const flags = ['-noinput', '-hidden', '-sname', name, '-erl_epmd_port', String(distributionPort)]
      const { stdout } = await execute('erl', [...flags, '-dist_listen', 'false', '-eval', call], { env, cwd: folder })
      return stdout
    },
  }
}

function writeFiles(folder: string, options: RabbitmqOptions, port: number, tlsPort: number): void {
  const { tls } = options
  for (const name of ['data', 'log']) mkdirSync(join(folder, name))
  const files: Record<string, string> = {
    environment: '',
    plugins: '[].\n',
    'advanced.config': '[].\n',
    'definitions.json': JSON.stringify(definitions(options)),
    'rabbitmq.conf': [
      `listeners.tcp.1 = 127.0.0.1:${port}`,
      'log.console = true',
      'log.console.level = info',
      `load_definitions = ${join(folder, 'definitions.json')}`,
      ...(tls
        ? [
            `listeners.ssl.1 = 127.0.0.1:${tlsPort}`,
            `ssl_options.keyfile = ${join(folder, 'server.key')}`,
            `ssl_options.certfile = ${join(folder, 'server.pem')}`,
            'ssl_options.versions.1 = tlsv1.3',
            'ssl_options.versions.2 = tlsv1.2',
          ]
        : []),
      ...(tls?.clients_ca !== undefined
        ? [
            `ssl_options.cacertfile = ${join(folder, 'clients.pem')}`,
            'ssl_options.verify = verify_peer',
            'ssl_options.fail_if_no_peer_cert = false',
          ]
        : []),
      '',
    ].join('\n'),
    ...(tls && { 'server.key': tls.key, 'server.pem': tls.cert }),
    ...(tls?.clients_ca !== undefined && { 'clients.pem': tls.clients_ca }),
  }
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text, { mode: 0o600 })
}

/** As `rabbitmqctl export_definitions` writes them; imported at each start, also over what is there already. */
function definitions({ user, password, vhosts = [] }: RabbitmqOptions) {
  const salt = randomBytes(4)
  const hash = createHash('sha256').update(salt).update(password).digest()
  const names = [...new Set(['/', ...vhosts])]
  return {
    users: [
      {
        name: user,
        password_hash: Buffer.concat([salt, hash]).toString('base64'),
        hashing_algorithm: 'rabbit_password_hashing_sha256',
        tags: 'administrator',
      },
    ],
    vhosts: names.map((name) => ({ name })),
    permissions: names.map((vhost) => ({ user, vhost, configure: '.*', write: '.*', read: '.*' })),
  }
}

/**
 * In place of epmd, which would stay behind as a daemon. The server insists on asking it, once, for the names of its
 * nodes (request 110: the mapper's port, then a line for each node): there are none.
 */
async function startPortMapper(): Promise<Server> {
  const server = createServer((socket) => {
    socket.on('error', () => {})
    socket.once('data', (request) => {
      if (request[2] !== 110) return void socket.destroy()
      const answer = Buffer.alloc(4)
      answer.writeUInt32BE(portOf(server))
      socket.end(answer)
    })
  })
  server.unref().listen(0, '127.0.0.1')
  await once(server, 'listening')
  return server
}

function portOf(server: Server): number {
  const address = server.address()
  return typeof address === 'object' && address ? address.port : 0
}

/** Debian's own script in front of it starts the server as another user, in folders of the system. */
function withoutWrapper(program: string): string {
  const script = join(dirname(realpathSync(program)), 'rabbitmq-server')
  return existsSync(script) ? script : program
}

/** Whether somebody there answers the protocol's header with a frame. */
function greets(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => socket.write('AMQP\0\0\x09\x01'))
    const settle = (answer: boolean) => {
      resolve(answer)
      socket.destroy()
    }
    socket.setTimeout(2_000, () => settle(false))
    socket.once('error', () => settle(false))
    socket.once('close', () => settle(false))
    socket.once('data', (bytes) => settle(bytes[0] === 1))
  })
}

function erlangString(text: string): string {
  return `"${text.replace(/["\\]/g, '\\$&')}"`
}
