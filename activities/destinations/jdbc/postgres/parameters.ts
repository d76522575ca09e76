// The parameters of pgJDBC's URLs.
import {
  boolean,
  type ParameterTable,
  refusing,
  stateTls,
  type TlsMode,
  type TlsParameters,
  UrlError,
} from '../parameters.ts'

export interface PostgresParameters extends TlsParameters {
  /** TLS from the first byte; supported since PostgreSQL 17. */
  direct_tls: boolean
  application_name: string
  /** The search path. */
  current_schema: string | undefined
  /** Settings of the server. */
  options: [name: string, value: string][]
}

const FILES = 'files of this machine are not read: use the field "tls"'

export const postgresParameters: ParameterTable<PostgresParameters> = {
  defaults: {
    tls: 'verify-full',
    direct_tls: false,
    application_name: 'Distributor',
    current_schema: undefined,
    options: [],
  },
  readers: {
    ssl: (value, into) => stateTls(into, boolean(value) ? 'secure' : 'disable'),
    sslmode: (value, into) => stateTls(into, tlsMode(value)),
    sslNegotiation: (value, into) => {
      if (value !== 'direct' && value !== 'postgres') throw new UrlError('must be direct or postgres')
      into.direct_tls = value === 'direct'
    },
    ApplicationName: (value, into) => {
      into.application_name = value
    },
    currentSchema: (value, into) => {
      into.current_schema = value
    },
    options: (value, into) => {
      into.options = settingsIn(value)
    },
    ...refusing(['sslrootcert', 'sslcert', 'sslkey', 'sslpassword', 'sslfactory', 'sslfactoryarg'], FILES),
    ...refusing(['sslhostnameverifier'], 'use the field "tls", which has a "server_name"'),
    ...refusing(['socketFactory', 'socketFactoryArg', 'localSocketAddress'], 'has no meaning here'),
  },
  ignored: [
    // The field `timeout_seconds` is the one deadline.
    ...['connectTimeout', 'loginTimeout', 'socketTimeout', 'cancelSignalTimeout', 'sslResponseTimeout'],
    ...[
      'prepareThreshold',
      'preparedStatementCacheQueries',
      'preparedStatementCacheSizeMiB',
      'databaseMetadataCacheFields',
    ],
    ...[
      'defaultRowFetchSize',
      'reWriteBatchedInserts',
      'binaryTransfer',
      'binaryTransferEnable',
      'binaryTransferDisable',
    ],
    ...['tcpKeepAlive', 'tcpNoDelay', 'sendBufferSize', 'receiveBufferSize', 'maxSendBufferSize', 'gssEncMode'],
    ...['loggerLevel', 'loggerFile', 'logUnclosedConnections', 'logServerErrorDetail', 'assumeMinServerVersion'],
    ...['autosave', 'stringtype', 'preferQueryMode', 'targetServerType', 'loadBalanceHosts', 'hostRecheckSeconds'],
  ],
}

/** `-c name=value --name=value`, as on the server's command line; a backslash escapes a space in a value. */
function settingsIn(text: string): [name: string, value: string][] {
  const words = text.match(/(?:\\.|[^\\\s])+/gs)?.map((word) => word.replace(/\\(.)/gs, '$1')) ?? []
  const settings: [string, string][] = []
  while (words.length > 0) {
    const word = words.shift()!
    const setting = word === '-c' ? (words.shift() ?? '') : word.replace(/^(-c|--)/, '')
    const [, name, value] = /^([A-Za-z_][\w-]*(?:\.\w+)?)=(.*)$/s.exec(setting) ?? []
    if (name === undefined || (word === setting && word !== '-c')) {
      throw new UrlError('must be settings such as -c work_mem=8MB')
    }
    settings.push([name.replaceAll('-', '_').toLowerCase(), value!])
  }
  return settings
}

/** The modes of libpq. `require` accepts any certificate there; here the certificate is verified. */
function tlsMode(value: string): TlsMode {
  if (value === 'disable') return 'disable'
  if (value === 'verify-ca') return 'verify-ca'
  if (value === 'verify-full' || value === 'require') return 'verify-full'
  if (value === 'prefer' || value === 'allow') {
    throw new UrlError(`${value} allows plain text; use disable or verify-full`)
  }
  throw new UrlError('must be disable, require, verify-ca or verify-full')
}
