// The parameters of the URLs of Connector/J and of MariaDB's connector.
import {
  boolean,
  type ParameterTable,
  refusing,
  stateTls,
  type TlsMode,
  type TlsParameters,
  UrlError,
} from '../parameters.ts'

export interface MysqlParameters extends TlsParameters {
  /** `±hh:mm`: the offset of the times in `datetime` columns, which have no zone. */
  time_zone: string
  /**
   * Without TLS, the password may be encrypted with a key from the server. A man in the middle can replace that key.
   */
  allow_public_key_retrieval: boolean
}

const VERIFIED = 'certificates are always verified: give the authority in the field "tls"'
const FILES = 'files of this machine are not read: use the field "tls"'

export const mysqlParameters: ParameterTable<MysqlParameters> = {
  defaults: { tls: 'verify-full', time_zone: '+00:00', allow_public_key_retrieval: false },
  readers: {
    sslMode: (value, into) => stateTls(into, tlsMode(value)),
    useSSL: (value, into) => stateTls(into, boolean(value) ? 'secure' : 'disable'),
    useSsl: (value, into) => stateTls(into, boolean(value) ? 'secure' : 'disable'),
    requireSSL: (value, into) => {
      if (!boolean(value)) throw new UrlError('false allows plain text; for plain text use sslMode=DISABLED')
      stateTls(into, 'secure')
    },
    verifyServerCertificate: (value) => {
      if (!boolean(value)) throw new UrlError(VERIFIED)
    },
    trustServerCertificate: (value) => {
      if (boolean(value)) throw new UrlError(VERIFIED)
    },
    disableSslHostnameVerification: (value, into) => {
      if (boolean(value)) stateTls(into, 'verify-ca')
    },
    connectionTimeZone: timeZone,
    serverTimezone: timeZone,
    timezone: timeZone,
    characterEncoding: utf8,
    connectionCollation: utf8,
    allowPublicKeyRetrieval: (value, into) => {
      into.allow_public_key_retrieval = boolean(value)
    },
    allowLoadLocalInfile: noFiles,
    allowLocalInfile: noFiles,
    allowUrlInLocalInfile: noFiles,
    ...refusing(
      ['trustCertificateKeyStoreUrl', 'trustCertificateKeyStorePassword', 'clientCertificateKeyStoreUrl'],
      FILES,
    ),
    ...refusing(
      ['clientCertificateKeyStorePassword', 'serverSslCert', 'keyStore', 'keyStorePassword', 'trustStore'],
      FILES,
    ),
    ...refusing(['serverRSAPublicKeyFile'], FILES),
  },
  ignored: [
    // The field `timeout_seconds` is the one deadline.
    ...[
      'connectTimeout',
      'socketTimeout',
      'autoReconnect',
      'maxReconnects',
      'initialTimeout',
      'queryTimeoutKillsConnection',
    ],
    ...[
      'useUnicode',
      'characterSetResults',
      'useServerPrepStmts',
      'cachePrepStmts',
      'prepStmtCacheSize',
      'prepStmtCacheSqlLimit',
    ],
    ...[
      'rewriteBatchedStatements',
      'useBulkStmts',
      'useCursorFetch',
      'defaultFetchSize',
      'useCompression',
      'allowMultiQueries',
    ],
    ...['tcpKeepAlive', 'tcpNoDelay', 'tcpRcvBuf', 'tcpSndBuf', 'useLocalSessionState', 'useLocalTransactionState'],
    ...['zeroDateTimeBehavior', 'tinyInt1isBit', 'transformedBitIsBoolean', 'yearIsDateType', 'useAffectedRows'],
    ...['nullCatalogMeansCurrent', 'nullDatabaseMeansCurrent', 'noAccessToProcedureBodies', 'useInformationSchema'],
    ...[
      'useLegacyDatetimeCode',
      'forceConnectionTimeZoneToSession',
      'preserveInstants',
      'cacheServerConfiguration',
      'logger',
    ],
    ...[
      'elideSetAutoCommits',
      'maintainTimeStats',
      'dumpQueriesOnException',
      'paranoid',
      'tlsVersions',
      'enabledTLSProtocols',
    ],
  ],
}

/**
 * The values of Connector/J and MariaDB. `REQUIRED` accepts any certificate there; here the certificate is verified.
 */
function tlsMode(value: string): TlsMode {
  const mode = value.toUpperCase().replace('-', '_')
  if (mode === 'DISABLED' || mode === 'DISABLE') return 'disable'
  if (mode === 'VERIFY_CA') return 'verify-ca'
  if (mode === 'VERIFY_IDENTITY' || mode === 'VERIFY_FULL' || mode === 'REQUIRED') return 'verify-full'
  if (mode === 'PREFERRED') throw new UrlError('PREFERRED allows plain text; use DISABLED or VERIFY_IDENTITY')
  if (mode === 'TRUST') throw new UrlError(VERIFIED)
  throw new UrlError('must be DISABLED, REQUIRED, VERIFY_CA or VERIFY_IDENTITY')
}

function timeZone(value: string, into: MysqlParameters): void {
  const zone = /^(UTC|GMT|Z)$/i.test(value) ? '+00:00' : value.replace(/^(UTC|GMT)(?=[+-])/i, '')
  // The limits of the servers.
  if (!/^[+-](0\d|1[0-3]):[0-5]\d$/.test(zone)) throw new UrlError('must be UTC or an offset such as +02:00')
  into.time_zone = zone
}

function utf8(value: string): void {
  if (!/^utf-?8/i.test(value)) throw new UrlError('text is always written as UTF-8')
}

function noFiles(value: string): void {
  if (boolean(value)) throw new UrlError('the server cannot read files of this machine')
}
